package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/configuration"
	"trellis/command/exit"
	"trellis/command/node"
	"trellis/worker"
	"trellis/worker/capacity"
)

func init() { cli.Register(cli.Cluster, 20, WorkerCommand) }

// WorkerCommand is trellis worker.
func WorkerCommand(env *cli.Environment) *cobra.Command {
	config := worker.Config{Version: env.Version}
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Start a worker",
		Long: `Start a worker, which trains runs for a coordinator until it is stopped.

SIGTERM or Ctrl-C drains the worker: it hands its runs back with their last checkpoints and exits with code 75, which
tells a scheduler to start it again. A second signal ends it immediately; a second SIGTERM within two seconds is ignored.
Where a scheduler kills a worker some time after SIGTERM, --drain-timeout tells the worker how much time there is.

With --exit-when-idle, the worker exits with code 0 when it has had no run for that time, or with code 5 if it has had no
coordinator either.

With --study, it takes runs of that study alone, and exits with code 0 when that has ended. It may be started before the study
is submitted: it says so and waits. With --exit-when-idle too, it also leaves when the study has no more for it, or with code 3 if
it was never there.

Labels are for studies that only some workers can train: workers: {gpu: a100} in a spec asks for workers with --label gpu=a100.

If the coordinator cannot be reached, the worker keeps trying. It continues to train its runs for most of a lease, and
then pauses them until it has a coordinator again.

With --programs, the worker also runs programs: whoever may submit studies then runs any command as this user. Give it a
user or a container of its own. It gives each run the cores, the memory and the GPUs that its study asks for.`,
		Args: cli.Operands(),
	}
	options := node.MetricsFlags(cmd, "connect to other machines without encryption unless --authority or "+
		"--certificate is set, and allow connections to --metrics from other machines")
	log := cli.LogFlags(cmd, "info")
	cli.AddressFlag(cmd, &config.Coordinator)
	cli.CredentialFlags(cmd, &config.Credentials)
	cmd.Flags().StringVar(&config.Name, "name", "", "first part of the worker's `name` (default the hostname and, in Slurm, the job)")
	cmd.Flags().IntVar(&config.Slots, "slots", 0, "number of runs to train at the same time (default one per core)")
	cli.AtLeast(cmd.Flags(), "slots", &config.Slots, 1)
	cmd.Flags().IntVar(&config.Threads, "threads", 0,
		"most cores that one run of a model uses while other slots have no run (default all; the results are the same)")
	cli.AtLeast(cmd.Flags(), "threads", &config.Threads, 1)
	cmd.Flags().DurationVar(&config.ExitWhenIdle, "exit-when-idle", 0,
		"exit when there has been no run for this long, for example 10m (default never)")
	cli.AtLeast(cmd.Flags(), "exit-when-idle", &config.ExitWhenIdle, time.Second)
	cmd.Flags().DurationVar(&config.DrainTimeout, "drain-timeout", 0,
		"how long the worker may take to hand its runs back, for example 25s (default as long as that takes)")
	cli.AtLeast(cmd.Flags(), "drain-timeout", &config.DrainTimeout, time.Second)
	resources := resourceFlags(cmd, &config)
	node.CacheDirFlag(cmd, &config.CacheDir)
	chooseKernel := kernelFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if configuration.Given(cmd, "name") && !validName.MatchString(config.Name) {
			return exit.Usagef("invalid argument %q for --name: must have 1 to 63 letters, digits and . _ @ -, and start "+
				"with a letter or digit", config.Name)
		}
		if err := errors.Join(chooseKernel(), resources()); err != nil {
			return err
		}
		fitIn(capacity.Allocated(os.LookupEnv), &config)
		tokenFrom, err := cli.CompleteCredentials(cmd, &config.Credentials)
		if err != nil {
			return err
		}
		config.Logger, config.Credentials.Insecure = log.NewLogger(env.Log), options.Insecure
		config.Tracer = env.StartTracing("trellis-worker", config.Logger)
		defer config.Tracer.Stop()
		err = work(cmd.Context(), env, config, options, cli.EncryptedBy(cmd))
		if errors.Is(err, worker.ErrRefused) && status.Code(err) == codes.PermissionDenied {
			return fmt.Errorf("%w; a worker needs a token or certificate with the role worker: trellis tokens create "+
				"--role worker --name NAME", err)
		}
		return cli.NameToken(err, tokenFrom)
	}
	return cmd
}

// fitIn leaves what the scheduler has given to others alone, unless flags say what there is. Go itself sees limits of control
// groups and which cores it may use, but not what a scheduler only counts.
func fitIn(its capacity.Allocation, config *worker.Config) {
	if its.CPUs > 0 && its.CPUs < runtime.GOMAXPROCS(0) {
		runtime.GOMAXPROCS(its.CPUs)
	}
	if config.Memory == 0 {
		config.Memory = its.Memory
	}
	if config.GPUs == nil {
		config.GPUs = its.GPUs
	}
	if host, err := os.Hostname(); config.Name == "" && err == nil && its.Job != "" {
		if name := host + "-" + its.Job; validName.MatchString(name) {
			config.Name = name
		}
	}
}

// validName matches the names that workers can be given: those that principals can have.
var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$`)

// work runs a worker until ctx is done or a signal drains it.
// encryptedBy names what has it use TLS.
func work(
	parent context.Context, env *cli.Environment, config worker.Config, options *node.ServerOptions, encryptedBy string,
) error {
	if err := config.Validate(); err != nil {
		return exit.Usagef("%w", err)
	}
	listener, registry, err := node.OpenMetrics(parent, env, options)
	if err != nil {
		return err
	}
	if registry != nil {
		defer listener.Close()
		config.Registerer = registry
	}
	keepHeapSmall(workerPace)
	w, err := worker.New(config)
	if err != nil {
		return fmt.Errorf("cannot start the worker: %w", err)
	}
	ctx, stop := context.WithCancelCause(parent)
	defer stop(nil)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)

	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer stop(nil)
		return client.Explain(w.Run(groupCtx), encryptedBy)
	})
	told := false
	group.Go(func() error {
		told = drainOnSignal(groupCtx, env, signals, w, stop)
		return nil
	})
	if registry != nil {
		group.Go(func() error { return node.ServeMetrics(groupCtx, listener, registry, w.Ready) })
	}
	err = group.Wait()
	if cause := context.Cause(ctx); errors.Is(cause, exit.ErrInterrupted) {
		return cause
	}
	switch {
	case err == nil && told:
		return exit.ErrAgain
	case errors.Is(err, worker.ErrNotHandedBack), errors.Is(err, worker.ErrDrainTimeout), errors.Is(err, worker.ErrHandedBack):
		return fmt.Errorf("%w: %w", err, exit.ErrAgain)
	case errors.Is(err, worker.ErrNoStudy):
		return status.Errorf(codes.NotFound, "the worker has had no run for %v and leaves: there is no study named %s at %s; trellis "+
			"studies lists those that there are", config.ExitWhenIdle, config.Study, config.Coordinator)
	case errors.Is(err, worker.ErrCutOff):
		return fmt.Errorf("the worker has had no run for %v and leaves: %w at %s", config.ExitWhenIdle, exit.ErrUnavailable,
			config.Coordinator)
	}
	return err
}

// drainOnSignal drains the worker at the first signal and stops it at the second. It says whether there was one.
func drainOnSignal(
	ctx context.Context, env *cli.Environment, signals <-chan os.Signal, w *worker.Worker, stop context.CancelCauseFunc,
) (told bool) {
	select {
	case <-signals:
	case <-ctx.Done():
		return false
	}
	fmt.Fprintln(env.Err, "Draining: the worker hands its runs back. Interrupt again to end it immediately.")
	w.Drain()
	began := time.Now()
	for {
		select {
		case second := <-signals:
			if second == syscall.SIGTERM && time.Since(began) < sameSignal {
				continue
			}
			stop(exit.ErrInterrupted)
			return true
		case <-ctx.Done():
			return true
		}
	}
}

// sameSignal is how long after a first signal a SIGTERM is no second one: Slurm sends it to a batch script and to what runs in it,
// and the script passes it on.
const sameSignal = 2 * time.Second
