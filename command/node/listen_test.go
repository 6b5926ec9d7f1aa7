package node

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"127.0.0.1": true, "127.1.2.3": true, "::1": true, "localhost": true,
		"": false, "0.0.0.0": false, "::": false, "192.0.2.1": false,
	} {
		got, err := isLoopback(t.Context(), host)
		if err != nil || got != want {
			t.Errorf("isLoopback(%q) = %v, %v; want %v", host, got, err, want)
		}
	}
}

// Only --insecure opens a port to other machines.
func TestListen(t *testing.T) {
	for _, test := range []struct {
		name, address string
		insecure      bool
		want          string
	}{
		{"loopback", "127.0.0.1:0", false, ""},
		{"every interface", ":0", false, "--insecure"},
		{"every interface of version 6", "[::]:0", false, "--insecure"},
		{"every interface, insecure", "0.0.0.0:0", true, ""},
		{"no port", "127.0.0.1", false, "must be an address such as"},
		{"unknown host", "nosuch.invalid:0", false, "look up nosuch.invalid: no such host"},
		{"bad port", "127.0.0.1:99999", false, "--listen 127.0.0.1:99999: the port must be a number between 0 and 65535"},
		{"no such interface", "192.0.2.1:0", true, "cannot listen on 192.0.2.1:0 (--listen): cannot assign requested address"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var err error
			if !test.insecure {
				err = checkLoopback(t.Context(), "listen", test.address, "add --insecure")
			}
			if err == nil {
				var listener net.Listener
				if listener, err = listen(t.Context(), "listen", test.address); err == nil {
					defer listener.Close()
				}
			}
			if test.want == "" && err != nil || test.want != "" &&
				(err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q in it", err, test.want)
			}
		})
	}
}

func TestServeMetrics(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	listener, err := listen(ctx, "metrics", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	var ready atomic.Bool
	go func() { served <- ServeMetrics(ctx, listener, newRegistry(), ready.Load) }()
	status := func(path string) int {
		response, err := http.Get("http://" + listener.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	if healthy, before := status("/healthz"), status("/readyz"); healthy != 200 || before != 503 {
		t.Errorf("before it is ready: %d and %d", healthy, before)
	}
	ready.Store(true)
	for path, want := range map[string]string{"/metrics": "go_goroutines ", "/debug/pprof/": "heap", "/readyz": "ok"} {
		response, err := http.Get("http://" + listener.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: %s, %v, without %q", path, response.Status, err, want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
