package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"trellis/coordinator"
	"trellis/trainer"
	"trellis/worker/dial"
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

// coordinatorOptions are the flags of coordinator that Config does not have.
type coordinatorOptions struct {
	listen     string
	durability durabilityOptions
	server     *serverOptions
	data       *dataOptions
}

func (cli *commandLine) coordinatorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "coordinator",
		Short: "Expand studies, hand out their runs to workers, record the results",
		Long: `Expand studies, hand out their runs to workers, record the results, and answer all other commands.

What it acknowledges is on disk, in the data directory: it may be killed at any instant, and goes on where it was when
it is started again with the same directory. Ctrl-C and SIGTERM stop it; workers wait for it.

Several coordinators replicate one log and stand the loss of a minority: three stand the loss of one. Start the first as
usual and the others with --join; then workers and other commands are given all their addresses, with commas between
them. Each is a node of the cluster with a data directory of its own. See: trellis cluster --help`,
		Example: `  trellis coordinator
  trellis coordinator --listen :7070 --insecure      # for a network of machines that you trust
  trellis coordinator --listen :7070 --insecure --join first:7070 --artifacts s3://bucket/trellis`,
		Args: operands(),
	}
	options := coordinatorOptions{
		server: metricsFlags(cmd, "allow to listen where other machines can connect, without encryption or passwords"),
	}
	config := coordinator.Config{Numerics: trainer.NumericsVersion, Models: knownModels(), Version: cli.version}
	log := logFlags(cmd, slog.LevelInfo)
	flags := cmd.Flags()
	flags.StringVar(&options.listen, "listen", DefaultAddress, "`address` to listen on")
	flags.DurationVar(&config.Lease, "lease", coordinator.DefaultLease,
		"how long a worker may be silent before its runs go to others")
	flags.StringVar(&options.durability.data, "data", "",
		"`folder` of the log, of its snapshots and of checkpoints (default trellis in the user's data folder)")
	flags.BoolVar(&options.durability.inMemory, "in-memory", false,
		"keep studies in memory only: they end with the process, and there are no checkpoints")
	flags.StringSliceVar(&config.Join, "join", nil,
		"`addresses` of nodes of a cluster, with commas between them: become one of them if the data directory is empty")
	flags.BoolVar(&config.Wait, "wait-to-be-added", false,
		"if the data directory is empty, wait until somebody adds this node: trellis cluster add")
	flags.StringVar(&config.Advertise, "advertise", "",
		"`address` under which nodes, workers and other commands reach this coordinator (default the one listened on)")
	flags.StringVar(&config.Artifacts, "artifacts", "",
		"folder or `URL` (s3://, or gs:// in a build with -tags gcs) for checkpoints (default artifacts in the data directory)")
	flags.DurationVar(&config.CheckpointInterval, "checkpoint-interval", coordinator.DefaultCheckpointInterval,
		"how often, at least, workers save the runs that they train")
	options.data = dataFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, stop := interruptible(cmd.Context())
		defer stop()
		config.Logger = log.newLogger(cli.stderr)
		var err error
		if config.Data, err = options.durability.path(cmd); err != nil {
			return err
		}
		return cli.serve(ctx, options, config)
	}
	return cmd
}

// serve runs a coordinator until ctx is done.
func (cli *commandLine) serve(
	ctx context.Context, options coordinatorOptions, config coordinator.Config,
) error {
	if err := errors.Join(config.Validate(), checkAddresses(config)); err != nil {
		return usageErrorf("%w", err)
	}
	dataSets, err := newDataSets(options.data)
	if err != nil {
		return err
	}
	metricsListener, registry, err := cli.openMetrics(ctx, options.server)
	if err != nil {
		return err
	}
	if registry != nil {
		defer metricsListener.Close()
		config.Registerer = registry
	}
	listener, err := listen(ctx, "listen", options.listen, options.server.insecure)
	if err != nil {
		return err
	}
	if config.Advertise == "" {
		config.Advertise = reachableAddress(listener)
	}
	directory, err := openDataDirectory(config.Data)
	if err != nil {
		listener.Close()
		return err
	}
	config.Data = directory.path
	c, err := coordinator.New(config, listener, dataSets)
	if err != nil {
		listener.Close()
		return directory.explainLog(err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return directory.explainLog(c.Serve(ctx)) })
	group.Go(func() error {
		cli.announce(ctx, listener.Addr().String(), config, directory)
		return nil
	})
	if registry != nil {
		group.Go(func() error { return serveMetrics(ctx, metricsListener, registry) })
	}
	return group.Wait()
}

// announce says where the coordinator is and what it has, once it has opened its log and answers.
func (cli *commandLine) announce(
	ctx context.Context, address string, config coordinator.Config, directory dataDirectory,
) {
	for {
		answer, err := askCluster(ctx, address)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			// It reads a long log.
			continue
		}
		waits, member := "", len(answer.GetNodes()) > 0
		if member && directory.found && (config.Wait || len(config.Join) > 0) {
			config.Logger.Info("this node is in a cluster already: --join and --wait-to-be-added change nothing",
				"nodes", len(answer.GetNodes()))
		}
		if !member && config.Wait {
			waits = fmt.Sprintf("It waits to be added to a cluster: trellis cluster add %s --coordinator NODE\n", config.Advertise)
		}
		fmt.Fprintf(cli.stderr, "The coordinator listens on %s.\n%s\n%sConnect workers:  trellis worker --coordinator %s\n"+
			"Submit a study:   trellis submit --coordinator %s SPEC\n", address, directory.describe(), waits, config.Advertise,
			config.Advertise)
		return
	}
}

// checkAddresses says what is wrong with the addresses that tell nodes where others are.
func checkAddresses(config coordinator.Config) error {
	for _, address := range config.Join {
		if _, err := dial.Nodes(address); err != nil {
			return fmt.Errorf("--join: %w", err)
		}
	}
	if config.Advertise == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(config.Advertise)
	if _, wrong := dial.Nodes(config.Advertise); wrong != nil || err != nil {
		return fmt.Errorf("--advertise: %w", cmp.Or(wrong, err))
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("--advertise %s names no machine, so nobody could come back to it: give an address such as host:7070",
			config.Advertise)
	}
	return nil
}
