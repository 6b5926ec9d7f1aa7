package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

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

// localOptions say what is started in this process.
type localOptions struct {
	workers, slots int
	data           *dataOptions
	// directory is where studies are kept.
	directory dataDirectory
	logger    *slog.Logger
	// version is that of this binary.
	version string
}

// cluster is a coordinator and its workers in this process, over loopback.
type cluster struct {
	// ctx is done when the user interrupts, with errInterrupted as its cause, or when a part of the cluster fails, with
	// that as its cause. Coordinator and workers live on until stop.
	ctx     context.Context
	address string
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

// startCluster starts a coordinator on a free port. Its workers start with startWorkers.
func startCluster(parent context.Context, options localOptions) (*cluster, error) {
	dataSets, err := newDataSets(options.data)
	if err != nil {
		return nil, err
	}
	listener, err := listen(parent, "listen", "127.0.0.1:0", false)
	if err != nil {
		return nil, err
	}
	server, err := coordinator.New(coordinator.Config{
		Numerics: trainer.NumericsVersion, Version: options.version, Logger: options.logger, Data: options.directory.path,
		Lease: localLease, Models: knownModels(),
	}, listener, dataSets)
	if err != nil {
		listener.Close()
		return nil, options.directory.explainLog(err)
	}
	c := &cluster{address: listener.Addr().String(), cacheDir: dataSets.library.CacheDir}
	c.ctx, c.fail = context.WithCancelCause(parent)
	lives := context.WithoutCancel(parent)
	serving, stopCoordinator := context.WithCancel(lives)
	c.stopCoordinator = stopCoordinator
	c.working, c.stopWorkers = context.WithCancel(lives)
	c.coordinator.Go(func() { c.ended(serving, "coordinator", options.directory.explainLog(server.Serve(serving))) })
	return c, nil
}

// startWorkers starts the workers of a cluster.
func (c *cluster) startWorkers(options localOptions) error {
	for n := range options.workers {
		w, err := worker.New(worker.Config{
			Coordinator: c.address,
			Name:        fmt.Sprintf("local-%d", n+1),
			Slots:       options.slots,
			CacheDir:    c.cacheDir,
			Version:     options.version,
			Logger:      options.logger,
		})
		if err != nil {
			return err
		}
		if options.directory.path != "" {
			c.drained = append(c.drained, w)
		}
		c.workers.Go(func() { c.ended(c.working, w.Name(), w.Run(c.working)) })
	}
	return nil
}

// ended ends the cluster when a part of it has ended before its time.
func (c *cluster) ended(lives context.Context, part string, err error) {
	if lives.Err() != nil {
		return
	}
	if err == nil {
		err = errors.New("it has ended too early")
	}
	c.fail(fmt.Errorf("%s: %w", part, err))
}

// why returns what ended the cluster if that is what err comes from, else err.
func (c *cluster) why(err error) error {
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	return err
}

// stop ends the workers and then the coordinator. What they fail with afterwards is of no interest.
func (c *cluster) stop() {
	c.drain()
	c.stopWorkers()
	c.workers.Wait()
	c.stopCoordinator()
	c.coordinator.Wait()
	c.fail(nil)
}

// drain lets the workers hand their runs back, but not for ever. It is of no use once a part of the cluster has failed.
func (c *cluster) drain() {
	cause := context.Cause(c.ctx)
	if len(c.drained) == 0 || cause != nil && !errors.Is(cause, errInterrupted) {
		return
	}
	timer := time.AfterFunc(drainTimeout, c.stopWorkers)
	defer timer.Stop()
	for _, w := range c.drained {
		w.Drain()
	}
	c.workers.Wait()
}
