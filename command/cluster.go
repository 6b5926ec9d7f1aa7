package command

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"trellis/coordinator"
	"trellis/trainer"
	"trellis/worker"
)

// cluster is a coordinator and its workers in this process, over loopback.
type cluster struct {
	// ctx is done when the user interrupts, with errInterrupted as its cause, or when a part of the cluster fails, with
	// that as its cause. Coordinator and workers live on until stop.
	ctx     context.Context
	address string

	fail            context.CancelCauseFunc
	stopWorkers     context.CancelFunc
	stopCoordinator context.CancelFunc
	workers         sync.WaitGroup
	coordinator     sync.WaitGroup
}

// startCluster starts a coordinator on a free port and its workers.
func startCluster(parent context.Context, options runOptions) (*cluster, error) {
	dataSets, err := newDataSets(options.data)
	if err != nil {
		return nil, err
	}
	server, err := coordinator.New(coordinator.Config{
		Numerics: trainer.NumericsVersion, Logger: options.logger,
	}, dataSets)
	if err != nil {
		return nil, err
	}
	listener, err := listen(parent, "listen", "127.0.0.1:0", false)
	if err != nil {
		return nil, err
	}
	c := &cluster{address: listener.Addr().String()}
	c.ctx, c.fail = context.WithCancelCause(parent)
	lives := context.WithoutCancel(parent)
	var serving, working context.Context
	serving, c.stopCoordinator = context.WithCancel(lives)
	working, c.stopWorkers = context.WithCancel(lives)
	c.coordinator.Go(func() { c.ended(serving, "coordinator", server.Serve(serving, listener)) })
	for n := range options.workers {
		w, err := worker.New(worker.Config{
			Coordinator: c.address,
			Name:        fmt.Sprintf("local-%d", n+1),
			Slots:       options.slots,
			CacheDir:    dataSets.library.CacheDir,
			Version:     version(),
			Logger:      options.logger,
		})
		if err != nil {
			c.stop()
			return nil, err
		}
		c.workers.Go(func() { c.ended(working, w.Name(), w.Run(working)) })
	}
	return c, nil
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
	c.stopWorkers()
	c.workers.Wait()
	c.stopCoordinator()
	c.coordinator.Wait()
	c.fail(nil)
}
