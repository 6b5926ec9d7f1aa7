package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"trellis/command/exit"
	"trellis/command/spec"
	"trellis/coordinator"
	"trellis/trainer"
	"trellis/worker"
)

const (
	// localLease is the lease of workers in the coordinator's own process, from which it hears as long as they live. After
	// a crash, the runs that the workers of that process had wait for it.
	localLease = 5 * time.Second
	// drainTimeout is how long the workers of trellis run may take to hand their runs back.
	drainTimeout = 5 * time.Second
)

// Options say what is started in this process.
type Options struct {
	Workers, Slots int
	Data           *DataOptions
	// Directory is where studies are kept.
	Directory Directory
	Logger    *slog.Logger
	// Version is that of this binary.
	Version string
}

// Local is a coordinator and its workers in this process, over loopback.
type Local struct {
	// Ctx is done when the user interrupts, with ErrInterrupted as its cause, or when a part of the cluster fails, with
	// that as its cause. Coordinator and workers live on until stop.
	Ctx     context.Context
	Address string
	// cacheDir is the folder in which the workers keep data sets.
	cacheDir string

	// drained are the workers if their runs are to be handed back when the cluster stops, so that another one can go on.
	drained []*worker.Worker

	fail context.CancelCauseFunc
	// working is done when the workers are to end.
	working         context.Context
	stopWorkers     context.CancelFunc
	stopCoordinator context.CancelFunc
	workers         sync.WaitGroup
	coordinator     sync.WaitGroup
}

// Start starts a coordinator on a free port. Its workers start with StartWorkers.
func Start(parent context.Context, options Options) (*Local, error) {
	dataSets, err := NewDataSets(options.Data)
	if err != nil {
		return nil, err
	}
	listener, err := Listen(parent, "listen", "127.0.0.1:0", false)
	if err != nil {
		return nil, err
	}
	server, err := coordinator.New(coordinator.Config{
		Numerics: trainer.NumericsVersion, Version: options.Version, Logger: options.Logger, Data: options.Directory.Path,
		Lease: localLease, Models: spec.Models(),
	}, listener, dataSets)
	if err != nil {
		listener.Close()
		return nil, options.Directory.ExplainLog(err)
	}
	c := &Local{Address: listener.Addr().String(), cacheDir: dataSets.Library.CacheDir}
	c.Ctx, c.fail = context.WithCancelCause(parent)
	lives := context.WithoutCancel(parent)
	serving, stopCoordinator := context.WithCancel(lives)
	c.stopCoordinator = stopCoordinator
	c.working, c.stopWorkers = context.WithCancel(lives)
	c.coordinator.Go(func() { c.ended(serving, "coordinator", options.Directory.ExplainLog(server.Serve(serving))) })
	return c, nil
}

// StartWorkers starts the workers of a cluster.
func (c *Local) StartWorkers(options Options) error {
	for n := range options.Workers {
		w, err := worker.New(worker.Config{
			Coordinator: c.Address,
			Name:        fmt.Sprintf("local-%d", n+1),
			Slots:       options.Slots,
			CacheDir:    c.cacheDir,
			Version:     options.Version,
			Logger:      options.Logger,
		})
		if err != nil {
			return err
		}
		if options.Directory.Path != "" {
			c.drained = append(c.drained, w)
		}
		c.workers.Go(func() { c.ended(c.working, w.Name(), w.Run(c.working)) })
	}
	return nil
}

// ended ends the cluster when a part of it has ended before its time.
func (c *Local) ended(lives context.Context, part string, err error) {
	if lives.Err() != nil {
		return
	}
	if err == nil {
		err = errors.New("it has ended too early")
	}
	c.fail(fmt.Errorf("%s: %w", part, err))
}

// Why returns what ended the cluster if that is what err comes from, else err.
func (c *Local) Why(err error) error {
	if c.Ctx.Err() != nil {
		return context.Cause(c.Ctx)
	}
	return err
}

// Stop ends the workers and then the coordinator. What they fail with afterwards is of no interest.
func (c *Local) Stop() {
	c.drain()
	c.stopWorkers()
	c.workers.Wait()
	c.stopCoordinator()
	c.coordinator.Wait()
	c.fail(nil)
}

// drain lets the workers hand their runs back, but not for ever. It is of no use once a part of the cluster has failed.
func (c *Local) drain() {
	cause := context.Cause(c.Ctx)
	if len(c.drained) == 0 || cause != nil && !errors.Is(cause, exit.ErrInterrupted) {
		return
	}
	timer := time.AfterFunc(drainTimeout, c.stopWorkers)
	defer timer.Stop()
	for _, w := range c.drained {
		w.Drain()
	}
	c.workers.Wait()
}
