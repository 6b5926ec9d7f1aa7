package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"trellis/command/cli"
)

// ServerOptions are the flags of the commands that may listen.
type ServerOptions struct {
	Insecure bool
	metrics  string
}

// MetricsFlags adds --metrics and --insecure.
func MetricsFlags(cmd *cobra.Command, insecure string) *ServerOptions {
	options := new(ServerOptions)
	cmd.Flags().StringVar(&options.metrics, "metrics", "",
		"`address` to serve Prometheus metrics, health checks and pprof profiles on, for example 127.0.0.1:9090")
	cmd.Flags().BoolVar(&options.Insecure, "insecure", false, insecure)
	return options
}

// OpenMetrics listens on --metrics, and says where. It returns neither a listener nor a registry if that is not given.
func OpenMetrics(
	ctx context.Context, env *cli.Environment, o *ServerOptions,
) (net.Listener, *prometheus.Registry, error) {
	if o.metrics == "" {
		return nil, nil, nil
	}
	if !o.Insecure {
		if err := checkLoopback(ctx, "metrics", o.metrics, "if all of them can be trusted, add --insecure; otherwise "+
			"listen on 127.0.0.1"); err != nil {
			return nil, nil, err
		}
	}
	listener, err := listen(ctx, "metrics", o.metrics)
	if err != nil {
		return nil, nil, err
	}
	fmt.Fprintf(env.Err, "Metrics are at http://%s/metrics, profiles at http://%s/debug/pprof/.\n", listener.Addr(),
		listener.Addr())
	return listener, newRegistry(), nil
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

// ServeMetrics serves Prometheus metrics at /metrics and profiles at /debug/pprof/ until ctx is done. /healthz answers while the
// process lives, and /readyz says by its status, 200 or 503, what ready says.
func ServeMetrics(ctx context.Context, listener net.Listener, registry *prometheus.Registry, ready func() bool) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !ready() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
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
