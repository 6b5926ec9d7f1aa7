package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/configuration"
	"trellis/command/exit"
	"trellis/command/node"
	"trellis/command/spec"
	"trellis/coordinator"
	"trellis/trainer"
	"trellis/worker/dial"
)

// coordinatorOptions are the flags of coordinator that Config does not have.
type coordinatorOptions struct {
	listen, http string
	// addressFile is the file that says where the coordinator is, empty for none.
	addressFile string
	// open says that the page is to be opened in the browser.
	open *bool

	durability node.DirectoryFlags
	server     *node.ServerOptions
	data       *node.DataOptions
	// limits are name=value.
	limits []string
}

func init() { cli.Register(cli.Cluster, 10, CoordinatorCommand) }

// CoordinatorCommand is trellis coordinator.
func CoordinatorCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "coordinator",
		Short: "Start a coordinator",
		Long: `Start a coordinator. It expands studies, distributes their runs to workers, records the results, and answers
all other commands.

Acknowledged data is on disk in the data directory. The coordinator can be killed at any time: started again with the
same directory, it continues where it stopped. Ctrl-C or SIGTERM stops it; workers wait until it is back.

Several coordinators can replicate one log and tolerate the loss of a minority: three tolerate the loss of one. Start
the first as usual and the others with --join, each with a data directory of its own. Or start all with the same --join,
which names all of them as they advertise themselves: once all answer and have no data, the one whose address is first in
the alphabet forms the cluster. Then give workers and other commands the addresses of all nodes, separated by commas.
See: trellis cluster --help

With --certificate and --authority, all connections are encrypted, and everybody needs a certificate or a token: see
trellis certificates --help. Other machines can connect only then, or with --insecure.`,
		Example: `  trellis coordinator
  trellis coordinator --http 127.0.0.1:8080          # with the web page and the API over HTTP
  trellis coordinator --http 127.0.0.1:8080 --open   # and the page in the browser
  trellis coordinator --listen a:7070 --authority certificates/authority.crt --certificate certificates/node-a.crt
  trellis coordinator --listen :7070 --insecure      # on a network of trusted machines
  trellis coordinator --listen :7070 --insecure --join first:7070 --artifacts s3://bucket/trellis`,
		Args: cli.Operands(),
	}
	options := coordinatorOptions{
		server: node.MetricsFlags(cmd, "allow connections from other machines without encryption: whoever reaches the "+
			"port may do everything. With --certificate, this concerns --metrics only"),
	}
	config := coordinator.Config{
		Numerics: trainer.NumericsVersion, Models: spec.Models(), Sizer: node.Size, Version: env.Version,
	}
	log := cli.LogFlags(cmd, "info")
	flags := cmd.Flags()
	flags.StringVar(&options.listen, "listen", client.DefaultAddress, "`address` to listen on")
	flags.StringVar(&options.http, "http", "",
		"`address` to serve the web page and the API as JSON over HTTP on, for example 127.0.0.1:8080")
	options.open = cli.OpenFlag(cmd)
	flags.StringVar(&config.TLS.Authority, "authority", "",
		"`file` with the certificate of the authority that signs those of nodes, workers and people")
	flags.StringVar(&config.TLS.Certificate, "certificate", "", "`file` with this node's certificate")
	flags.StringVar(&config.TLS.Key, "key", "", cli.KeyUsage)
	flags.DurationVar(&config.Lease, "lease", coordinator.DefaultLease,
		"how long a worker may be silent before its runs are given to other workers")
	cli.AtLeast(flags, "lease", &config.Lease, coordinator.MinLease)
	flags.StringVar(&options.durability.Data, "data", "",
		"`folder` for the log, its snapshots and checkpoints (default trellis in the user's data folder)")
	flags.BoolVar(&options.durability.InMemory, "in-memory", false,
		"keep studies in memory only: they are lost when the process ends, and there are no checkpoints")
	flags.StringSliceVar(&config.Join, "join", nil,
		"comma-separated `addresses` of nodes of a cluster to join if the data directory is empty")
	flags.BoolVar(&config.Wait, "wait-to-be-added", false,
		"if the data directory is empty, wait to be added with trellis cluster add")
	flags.StringVar(&config.Advertise, "advertise", "",
		"`address` at which nodes, workers and other commands reach this coordinator (default the listen address, with "+
			"the machine's name if that is every interface)")
	flags.StringVar(&options.addressFile, "address-file", "",
		"`file` to write that address to while the coordinator runs: workers and commands find it there with "+
			"--coordinator file:/PATH, also when it starts again elsewhere")
	flags.StringVar(&config.Artifacts, "artifacts", "",
		"folder or `URL` (s3://, or gs:// in a build with -tags gcs) for checkpoints (default artifacts in the "+
			"data directory)")
	flags.DurationVar(&config.CheckpointInterval, "checkpoint-interval", coordinator.DefaultCheckpointInterval,
		"maximum time between the checkpoints of a run")
	cli.AtLeast(flags, "checkpoint-interval", &config.CheckpointInterval, coordinator.MinCheckpointInterval)
	flags.StringSliceVar(&options.limits, "limits", nil,
		"comma-separated limits on what clients and workers may use, as `name=value`, for example trials=10000000")
	options.data = node.DataFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, stop := cli.Interruptible(cmd.Context())
		defer stop()
		cli.CompleteKey(config.TLS.Certificate, &config.TLS.Key)
		config.Logger = log.NewLogger(env.Log)
		config.Tracer = env.StartTracing("trellis-coordinator", config.Logger)
		defer config.Tracer.Stop()
		config.Logger = config.Tracer.Logger(config.Logger)
		if err := node.CheckFlags(config.TLS); err != nil {
			return nameVariables(cmd, err)
		}
		if *options.open && options.http == "" {
			return exit.Usagef("--open needs --http: without it, there is no web page")
		}
		if err := setLimits(&config.Limits, options.limits); err != nil {
			return exit.Usagef("%w", err)
		}
		var err error
		if config.Data, err = options.durability.Path(cmd); err != nil {
			return err
		}
		if config.Data == "" && config.Artifacts != "" {
			// Nothing in memory refers to what an earlier coordinator has stored there: all of it would be deleted.
			return exit.Usagef("--artifacts cannot be combined with --in-memory: there are no checkpoints without a data " +
				"directory")
		}
		return serve(ctx, env, options, config)
	}
	return cmd
}

// nameVariables adds to what is wrong with the files of TLS which of them come from variables: those are often meant
// for commands that connect to a coordinator.
func nameVariables(cmd *cobra.Command, err error) error {
	var set, unset []string
	for _, flag := range []string{"authority", "certificate", "key"} {
		if configuration.OriginOf(cmd, flag) == configuration.FromVariable {
			name := configuration.Variable(flag)
			set, unset = append(set, name+"="+cmd.Flag(flag).Value.String()), append(unset, "-u "+name)
		}
	}
	if set == nil {
		return err
	}
	return exit.Usagef("%w\nFrom the environment: %s. To start a coordinator without: env %s trellis coordinator ...",
		err, strings.Join(set, " "), strings.Join(unset, " "))
}

// serve runs a coordinator until ctx is done.
func serve(
	ctx context.Context, env *cli.Environment, options coordinatorOptions, config coordinator.Config,
) error {
	if err := errors.Join(config.Validate(), checkAddresses(config)); err != nil {
		return exit.Usagef("%w", err)
	}
	metricsListener, registry, err := node.OpenMetrics(ctx, env, options.server)
	if err != nil {
		return err
	}
	if registry != nil {
		defer metricsListener.Close()
		config.Registerer = registry
	}
	keepHeapSmall(coordinatorPace)
	c, err := node.Open(ctx, config, node.Place{
		Listen: options.listen, HTTP: options.http, Insecure: options.server.Insecure, Data: options.data,
	})
	if err != nil {
		return err
	}
	told := ctx
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.Serve(ctx) })
	if len(config.Join) > 0 {
		group.Go(func() error { return client.CheckEncryption(ctx, config.Join, config.TLS) })
	}
	group.Go(func() error {
		if announce(ctx, env, c, config) && *options.open {
			cli.OpenPage(env, c.Link+"/")
		}
		return nil
	})
	if options.addressFile != "" {
		group.Go(func() error { return publish(ctx, c, options.addressFile) })
	}
	if registry != nil {
		group.Go(func() error { return node.ServeMetrics(ctx, metricsListener, registry, c.Ready) })
	}
	err = group.Wait()
	if told.Err() != nil {
		config.Logger.Info("the coordinator has stopped")
	}
	return err
}

// setLimits sets what --limits names.
func setLimits(limits *coordinator.Limits, flags []string) error {
	given := map[string]bool{}
	for _, flag := range flags {
		name, value, found := strings.Cut(flag, "=")
		if !found {
			return fmt.Errorf("invalid argument %q for --limits: must be name=value, for example trials=10000000", flag)
		}
		if given[name] {
			return fmt.Errorf("--limits: %s is given twice", name)
		}
		given[name] = true
		if err := limits.Set(name, value); err != nil {
			return fmt.Errorf("--limits: %w", err)
		}
	}
	return nil
}

// announce says where the coordinator is and what it has, once it has opened its log and answers. It returns false if
// that never happens.
func announce(ctx context.Context, env *cli.Environment, c *node.Coordinator, config coordinator.Config) bool {
	members, err := c.AwaitOpen(ctx)
	if err != nil {
		return false
	}
	waits := ""
	if members > 0 && c.Directory.Found && (config.Wait || len(config.Join) > 0) {
		config.Logger.Info("this node is already in a cluster: --join and --wait-to-be-added have no effect",
			"nodes", members)
	}
	if members == 0 && config.Wait {
		waits = fmt.Sprintf("It is waiting to be added to a cluster: trellis cluster add %s --coordinator NODE\n",
			c.Advertise)
	}
	target := c.Advertise + connectionFlags(config, c.Advertise)
	page := ""
	if c.Link != "" {
		page = fmt.Sprintf("Web page:         %s/ (API: %s/api)\n", c.Link, c.Link)
		if c.LinkHosts != "" {
			page += fmt.Sprintf("trellis: browsers will not trust this address: the certificate %s is for %s. Set --http to an "+
				"address of the certificate\n", config.TLS.Certificate, c.LinkHosts)
		}
	}
	fmt.Fprintf(env.Err, "The coordinator listens on %s.\n%s\n%sConnect workers:  trellis worker --coordinator %s\n"+
		"Submit a study:   trellis submit --coordinator %s SPEC\n%s", c.Address, c.Directory.Describe(), waits, target,
		target, page)
	return true
}

// connectionFlags are the flags that workers and commands need to connect to a coordinator at an address.
func connectionFlags(config coordinator.Config, address string) string {
	switch {
	case config.TLS.Given():
		return " --authority " + config.TLS.Authority + " --token-file TOKEN"
	case client.Credentials{}.Encrypts([]string{address}):
		return " --insecure"
	default:
		return ""
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
		return fmt.Errorf("invalid argument %q for --advertise: must name a machine, such as host:7070",
			config.Advertise)
	}
	return nil
}
