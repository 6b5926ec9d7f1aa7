package coordinator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"trellis/coordinator/digest"
)

const (
	// shutdownGrace is how long pending calls may take to end when the coordinator stops.
	shutdownGrace = 2 * time.Second
	// handOverTimeout is how long a leader that is stopping tries to make another node the leader.
	handOverTimeout = 5 * time.Second
)

// Serve serves API calls and workers until ctx is done. Then it hands over to another node if there is one, ends
// pending calls, and returns nil. If the log fails, Serve returns early with an error, and the process must end. Call
// Serve only once.
func (c *Coordinator) Serve(ctx context.Context) error {
	if c.certificates != nil {
		defer c.certificates.Close()
	}
	server, services, err := c.newServer()
	if err != nil {
		c.port.close()
		if c.webPort != nil {
			c.webPort.close()
		}
		return err
	}
	// The parts are stopped in order, and not at the moment when ctx is done.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(c.port.serve)
	group.Go(func() error {
		if err := server.Serve(c.port.calls); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			return fmt.Errorf("serve on %v: %w", c.port.listener.Addr(), err)
		}
		return nil
	})
	if c.web != nil {
		group.Go(c.webPort.serve)
		group.Go(func() error { return c.web.Serve(c.webPort.calls) })
	}
	var failed error
	ended := make(chan struct{})
	group.Go(func() error {
		defer close(ended)
		failed = c.run(running, services)
		return failed
	})
	group.Go(func() error {
		<-ctx.Done()
		c.handOver(running)
		c.stop(errStopping)
		services.Shutdown()
		if c.web != nil {
			c.web.Stop()
			c.webPort.close()
		}
		stopServer(server)
		stop()
		<-ended
		err := c.peers.close()
		c.port.close()
		if failed != nil {
			return nil
		}
		return err
	})
	return group.Wait()
}

// stopServer lets pending calls end, within shutdownGrace.
func stopServer(server *grpc.Server) {
	timer := time.AfterFunc(shutdownGrace, server.Stop)
	defer timer.Stop()
	server.GracefulStop()
}

// run opens the log and serves until ctx is done or the log fails.
func (c *Coordinator) run(ctx context.Context, services *services) error {
	if err := c.open(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var parts sync.WaitGroup
	parts.Go(func() { c.leadWhileLeader(ctx) })
	parts.Go(func() { c.follow(ctx, services) })
	if c.certificates != nil {
		parts.Go(func() { c.watchCertificate(ctx) })
	}
	parts.Go(func() { c.tokens.run(ctx) })
	parts.Go(func() { digest.Compute(ctx, c.store, c.logger) })
	if c.replicated != nil {
		parts.Go(func() { c.becomeMember(ctx) })
		parts.Go(func() { c.yieldWhenDiskIsLow(ctx) })
	}
	select {
	case <-ctx.Done():
		parts.Wait()
		return errors.Join(c.log.Close(), c.artifacts.Close())
	case err := <-c.log.Failed():
		// Don't wait for what may hang together with the disk: the process ends.
		close(c.failed)
		stop()
		within(shutdownGrace, func() {
			parts.Wait()
			_ = c.log.Close()
		})
		return fmt.Errorf("the coordinator can't continue: %w", err)
	}
}

// AwaitOpen waits until the log is open, and returns how many nodes the cluster has: none if this node waits to be added to
// one.
func (c *Coordinator) AwaitOpen(ctx context.Context) (nodes int, err error) {
	select {
	case <-c.opened:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	if c.replicated == nil {
		return 1, nil
	}
	members, err := c.replicated.Nodes()
	return len(members), err
}

// within calls f and waits for it, but not for longer than the given time.
func within(limit time.Duration, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// handOver makes another node the leader if this one leads, so that the cluster does not have to notice that its leader
// is gone.
func (c *Coordinator) handOver(ctx context.Context) {
	select {
	case <-c.failed:
		return
	case <-c.opened:
	default:
		return
	}
	if c.replicated == nil || !c.leader.Leads() {
		return
	}
	if nodes, err := c.replicated.Nodes(); err != nil || len(nodes) < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, handOverTimeout)
	defer cancel()
	if err := c.replicated.TransferLeadership(ctx, ""); err != nil && !errors.Is(err, ErrNotLeader) {
		c.logger.Warn("could not hand over to another node before stopping; the others will elect one", "error", err)
		return
	}
	c.logger.Info("handed over to another node before stopping")
}
