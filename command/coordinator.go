package command

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"trellis/coordinator"
	"trellis/trainer"
)

// serverOptions are the flags of the commands that may listen.
type serverOptions struct {
	insecure bool
	metrics  string
}

// metricsFlags adds --metrics and --insecure.
func metricsFlags(cmd *cobra.Command, insecure string) *serverOptions {
	options := new(serverOptions)
	cmd.Flags().StringVar(&options.metrics, "metrics", "",
		"`address` to serve Prometheus metrics and profiles (pprof) on, for example 127.0.0.1:9090")
	cmd.Flags().BoolVar(&options.insecure, "insecure", false, insecure)
	return options
}

// openMetrics listens on --metrics, and says where. It returns neither a listener nor a registry if that is not given.
func (cli *commandLine) openMetrics(
	ctx context.Context, o *serverOptions,
) (net.Listener, *prometheus.Registry, error) {
	if o.metrics == "" {
		return nil, nil, nil
	}
	listener, err := listen(ctx, "metrics", o.metrics, o.insecure)
	if err != nil {
		return nil, nil, err
	}
	fmt.Fprintf(cli.stderr, "Metrics are at http://%s/metrics, profiles at http://%s/debug/pprof/.\n", listener.Addr(),
		listener.Addr())
	return listener, newRegistry(), nil
}

func (cli *commandLine) coordinatorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "coordinator",
		Short: "Serve studies to clients and runs to workers",
		Long: `Serve studies to clients and runs to workers.

Studies are kept in memory: they end with the process.`,
		Example: `  trellis coordinator
  trellis coordinator --listen :7070 --insecure      # for a network of machines that you trust`,
		Args: operands(),
	}
	options := metricsFlags(cmd, "allow to listen where other machines can connect, without encryption or passwords")
	log := logFlags(cmd, slog.LevelInfo)
	var address string
	var lease time.Duration
	cmd.Flags().StringVar(&address, "listen", DefaultAddress, "`address` to listen on")
	cmd.Flags().DurationVar(&lease, "lease", coordinator.DefaultLease,
		"how long a worker may be silent before its runs go to others")
	data := dataFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, stop := interruptible(cmd.Context())
		defer stop()
		return cli.serve(ctx, address, data, options, coordinator.Config{
			Numerics: trainer.NumericsVersion,
			Lease:    lease,
			Logger:   log.newLogger(cli.stderr),
		})
	}
	return cmd
}

// serve runs a coordinator until ctx is done.
func (cli *commandLine) serve(
	ctx context.Context, address string, data *dataOptions, options *serverOptions, config coordinator.Config,
) error {
	if err := config.Validate(); err != nil {
		return usageErrorf("%w", err)
	}
	dataSets, err := newDataSets(data)
	if err != nil {
		return err
	}
	metricsListener, registry, err := cli.openMetrics(ctx, options)
	if err != nil {
		return err
	}
	if registry != nil {
		defer metricsListener.Close()
		config.Registerer = registry
	}
	c, err := coordinator.New(config, dataSets)
	if err != nil {
		return err
	}
	listener, err := listen(ctx, "listen", address, options.insecure)
	if err != nil {
		return err
	}
	reachable := reachableAddress(listener)
	fmt.Fprintf(cli.stderr, "The coordinator listens on %s.\nConnect workers:  trellis worker --coordinator %s\n"+
		"Submit a study:   trellis submit --coordinator %s SPEC\n", listener.Addr(), reachable, reachable)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.Serve(ctx, listener) })
	if registry != nil {
		group.Go(func() error { return serveMetrics(ctx, metricsListener, registry) })
	}
	return group.Wait()
}
