package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// listen opens a TCP port. One that other machines can reach is refused unless insecure is true, since nothing that
// listens here asks who is calling. flag is the name of the flag that gave the address.
func listen(ctx context.Context, flag, address string, insecure bool) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, usageErrorf("--%s takes an address such as %s: %w", flag, DefaultAddress, err)
	}
	if !insecure {
		loopback, err := isLoopback(ctx, host)
		if err != nil {
			return nil, usageErrorf("--%s %s: %w", flag, address, err)
		}
		if !loopback {
			return nil, usageErrorf("--%s %s can be reached from other machines, and whoever reaches it may do anything: there "+
				"is no encryption and no password. If only machines that you trust can reach it, add --insecure; else listen on "+
				"127.0.0.1", flag, address)
		}
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("cannot listen on %s: the address is already in use, perhaps by another coordinator or "+
			"worker; choose another with --%s", address, flag)
	case err != nil:
		return nil, fmt.Errorf("cannot listen on %s (--%s): %w", address, flag, err)
	}
	return listener, nil
}

// isLoopback says whether a host is this machine and cannot be reached from another. No host is all interfaces.
func isLoopback(ctx context.Context, host string) (bool, error) {
	if host == "" {
		return false, nil
	}
	addresses, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return false, fmt.Errorf("look up %s: %w", host, err)
	}
	for _, address := range addresses {
		if !address.IP.IsLoopback() {
			return false, nil
		}
	}
	return true, nil
}

// reachableAddress is what others may call a listener: its address, or the machine's name if it listens on all
// interfaces.
func reachableAddress(listener net.Listener) string {
	host, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return listener.Addr().String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		if name, err := os.Hostname(); err == nil {
			return net.JoinHostPort(name, port)
		}
	}
	return net.JoinHostPort(host, port)
}

// newRegistry returns a registry with the metrics of the process.
func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return registry
}

// serveMetrics serves Prometheus metrics at /metrics and profiles at /debug/pprof/ until ctx is done.
func serveMetrics(ctx context.Context, listener net.Listener, registry *prometheus.Registry) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve metrics on %v: %w", listener.Addr(), err)
	}
	return nil
}
