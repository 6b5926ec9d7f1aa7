package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/exit"
	"trellis/command/spec"
	"trellis/coordinator"
	"trellis/tracing"
	"trellis/trainer"
	"trellis/worker"
	"trellis/worker/scratch"
)

const (
	// localLease is the lease of workers in the coordinator's own process, from which it hears as long as they live.
	// After a crash, the runs that the workers of that process had wait for it.
	localLease = 5 * time.Second
	// drainTimeout is how long the workers of trellis run may take to hand their runs back.
	drainTimeout = 5 * time.Second
	// graceNoticed is how long programs may take to end before it is said that they are waited for.
	graceNoticed = 300 * time.Millisecond
)

// Options say what is started in this process.
type Options struct {
	Workers, Slots int
	Data           *DataOptions
	// Directory is the folder in which studies are kept, empty for in memory only; DirectoryFlag is the flag that has
	// named it, empty for --data.
	Directory, DirectoryFlag string
	Logger                   *slog.Logger
	// Programs says that programs are run. They need a folder for their files and output, also if studies are kept in
	// memory only.
	Programs bool
	// Tracer traces all of it. Nil: nothing is traced.
	Tracer *tracing.Tracer
	// Version is that of this binary.
	Version string
}

// WorkerFlags adds --workers and --slots.
func (o *Options) WorkerFlags(cmd *cobra.Command) {
	cmd.Flags().IntVar(&o.Workers, "workers", 1, "number of workers to start")
	cmd.Flags().IntVar(&o.Slots, "slots", 0,
		"number of runs that a worker trains at the same time (default the cores divided by the workers)")
	cli.AtLeast(cmd.Flags(), "workers", &o.Workers, 1)
	cli.AtLeast(cmd.Flags(), "slots", &o.Slots, 1)
}

// CompleteWorkers checks what WorkerFlags were given, and gives slots to workers that have none.
func (o *Options) CompleteWorkers() error {
	if o.Workers < 1 || o.Slots < 0 {
		return exit.Usagef("--workers and --slots must be 1 or more")
	}
	if o.Slots == 0 {
		o.Slots = max(1, runtime.GOMAXPROCS(0)/o.Workers)
	}
	return nil
}

// Local is a coordinator and its workers in this process, over loopback.
type Local struct {
	// Ctx is done when the user interrupts, with exit.ErrInterrupted as its cause, or when a part has failed, with that
	// as its cause. Coordinator and workers live on until stop.
	Ctx context.Context
	*Coordinator
	options Options
	// artifacts is the folder that is removed at the end; nil if there is none.
	artifacts *scratch.Folder

	// err is standard error.
	err io.Writer
	// Workers are the names of the workers that were started.
	Workers []string
	// drained are the workers if their runs are to be handed back when this ends, so that another process can go on.
	drained []*worker.Worker

	fail context.CancelCauseFunc
	// working is done when the workers are to end.
	working         context.Context
	stopWorkers     context.CancelFunc
	stopCoordinator context.CancelFunc
	workers         sync.WaitGroup
	serving         sync.WaitGroup
}

// Run runs what a command does with a coordinator in this process, interruptible by signals, and with a client of it.
// Its workers start with StartWorkers. All end when do returns.
func Run(
	parent context.Context, env *cli.Environment, options Options, do func(*Local, *client.Client) error,
) (err error) {
	ctx, stop := cli.Interruptible(parent)
	defer stop()
	local, err := start(ctx, options)
	if err != nil {
		return err
	}
	local.err = env.Err
	defer local.stop()
	c, err := client.New(local.Address, client.Credentials{}, env.Err)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	c.Tracer = options.Tracer
	if err := c.Connect(local.Ctx, client.DefaultWait); err != nil {
		return local.Why(err)
	}
	return do(local, c)
}

// start starts a coordinator on a free port.
func start(parent context.Context, options Options) (*Local, error) {
	var artifacts *scratch.Folder
	path := ""
	if options.Programs && options.Directory == "" {
		var err error
		if artifacts, err = scratch.Make(os.TempDir(), "trellis-artifacts-"); err != nil {
			return nil, fmt.Errorf("make a folder for what programs need: %w", err)
		}
		path = artifacts.Path()
	}
	opened, err := Open(parent, coordinator.Config{
		Numerics: trainer.NumericsVersion, Version: options.Version, Logger: options.Logger, Data: options.Directory,
		Tracer: options.Tracer, Lease: localLease, Models: spec.Models(), Sizer: Size, Artifacts: path,
	}, Place{Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0", Data: options.Data, DirectoryFlag: options.DirectoryFlag})
	if err != nil {
		return nil, errors.Join(err, artifacts.Remove())
	}
	l := &Local{Coordinator: opened, options: options, artifacts: artifacts}
	l.Ctx, l.fail = context.WithCancelCause(parent)
	lives := context.WithoutCancel(parent)
	serving, stopCoordinator := context.WithCancel(lives)
	l.stopCoordinator = stopCoordinator
	l.working, l.stopWorkers = context.WithCancel(lives)
	l.serving.Go(func() { l.ended(serving, "coordinator", l.Serve(serving)) })
	return l, nil
}

// StartWorkers starts the workers.
func (l *Local) StartWorkers() error {
	for n := range l.options.Workers {
		config := l.options.worker(n)
		config.Coordinator, config.CacheDir = l.Address, l.dataSets.library.CacheDir
		w, err := worker.New(config)
		if err != nil {
			return err
		}
		l.Workers = append(l.Workers, w.Name())
		if l.Directory.Path != "" {
			l.drained = append(l.drained, w)
		}
		l.workers.Go(func() { l.ended(l.working, w.Name(), w.Run(l.working)) })
	}
	return nil
}

// worker configures one of the workers.
func (o *Options) worker(n int) worker.Config {
	return worker.Config{
		Name: fmt.Sprintf("local-%d", n+1), Slots: o.Slots, Sharers: o.Workers, Sharer: n, Programs: o.Programs, Version: o.Version,
		Logger: o.Logger, Tracer: o.Tracer,
	}
}

// ended ends all when a part of it has ended before its time.
func (l *Local) ended(lives context.Context, part string, err error) {
	if lives.Err() != nil {
		return
	}
	if err == nil {
		err = errors.New("ended unexpectedly")
	}
	l.fail(fmt.Errorf("%s: %w", part, err))
}

// Why returns what ended it if that is what err comes from, else err.
func (l *Local) Why(err error) error {
	if l.Ctx.Err() != nil {
		return context.Cause(l.Ctx)
	}
	return err
}

// stop ends the workers and then the coordinator. What they fail with afterwards is of no interest.
func (l *Local) stop() {
	if l.options.Programs && errors.Is(context.Cause(l.Ctx), exit.ErrInterrupted) {
		// Most end at once.
		defer time.AfterFunc(graceNoticed, func() {
			fmt.Fprintln(l.err, "Waiting for programs to end: they have their grace period, 10s by default. "+
				"Press Ctrl-C again to kill them.")
		}).Stop()
	}
	l.drain()
	l.stopWorkers()
	l.workers.Wait()
	l.stopCoordinator()
	l.serving.Wait()
	if err := l.artifacts.Remove(); err != nil && l.options.Logger != nil {
		l.options.Logger.Warn("could not remove what programs needed", "error", err)
	}
	l.fail(nil)
}

// drain lets the workers hand their runs back, but not forever. It is of no use once a part has failed.
func (l *Local) drain() {
	cause := context.Cause(l.Ctx)
	if len(l.drained) == 0 || cause != nil && !errors.Is(cause, exit.ErrInterrupted) {
		return
	}
	timer := time.AfterFunc(drainTimeout, l.stopWorkers)
	defer timer.Stop()
	for _, w := range l.drained {
		w.Drain()
	}
	l.workers.Wait()
}
