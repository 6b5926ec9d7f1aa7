package dial

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// A coordinator whose address is in a file is found when the file is there, and again when it has moved. Its certificate must be
// for the host in the file.
func TestAddressInAFile(t *testing.T) {
	pair, authority := selfSigned(t, time.Now().Add(time.Hour))
	file := filepath.Join(t.TempDir(), "address")
	serve := func(name string) (address string, stop func()) {
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := grpc.NewServer(grpc.Creds(credentials.NewTLS(
			&tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}})))
		grpc_health_v1.RegisterHealthServer(server, &node{address: name})
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = server.Serve(listener)
		}()
		return listener.Addr().String(), func() {
			server.Stop()
			<-served
		}
	}
	write := func(text string) {
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := NewClient("file:"+file, InTurn, Credentials{Authority: authority}, grpc.WithConnectParams(
		grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: time.Millisecond, Multiplier: 1, MaxDelay: time.Millisecond},
			MinConnectTimeout: time.Minute,
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	check := func(options ...grpc.CallOption) string {
		_, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}, options...)
		return status.Convert(err).Message()
	}
	if got := check(); !strings.Contains(got, file+": no such file") {
		t.Errorf("without the file: %s", got)
	}
	write("nowhere\n")
	for got := check(); !strings.Contains(got, "which has no port: use nowhere:7070"); got = check() {
		if t.Context().Err() != nil || !strings.Contains(got, "no such file") {
			t.Fatalf("with a wrong address: %s", got)
		}
	}
	first, stopFirst := serve("first")
	write(first + "\n")
	// await is check, once it is connected.
	await := func() string {
		answer := make(chan string, 1)
		go func() { answer <- check(grpc.WaitForReady(true)) }()
		select {
		case got := <-answer:
			return got
		case mistake := <-conn.Mistakes():
			t.Fatal(mistake)
			return ""
		}
	}
	if got := await(); got != "first" {
		t.Errorf("%s has answered, want first", got)
	}
	second, stopSecond := serve("second")
	write(second + "\n")
	stopFirst()
	// A call that the first one has cut off is not made again.
	for got := await(); got != "second"; got = await() {
		if got == "first" {
			t.Fatal("one that has ended has answered")
		}
	}
	stopSecond()
	third, stopThird := serve("third")
	defer stopThird()
	_, port, _ := net.SplitHostPort(third)
	write("localhost:" + port + "\n") // The certificate is for 127.0.0.1.
	for {
		select {
		case mistake := <-conn.Mistakes():
			if mistake.Kind != WrongName || mistake.Node != "localhost:"+port {
				t.Errorf("the mistake is %v, want the wrong name localhost", mistake)
			}
			return
		default:
			if got := check(); got == "third" {
				t.Fatal("it was called by a name that its certificate does not have")
			}
		}
	}
}
