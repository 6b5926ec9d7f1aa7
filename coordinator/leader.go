package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/coordinator/lead"
)

// followInterval is how often a node checks who leads.
const followInterval = 100 * time.Millisecond

var (
	errStopping      = status.Error(codes.Unavailable, "the coordinator is shutting down")
	errLeaderChanged = status.Error(codes.Unavailable, "the leader has changed: reconnect")
)

// pause is work to do while the leader's loops are paused and there are no sessions.
type pause struct {
	why  error
	work func() error
	done chan error
}

// leadWhileLeader runs the leader's loops whenever this node leads.
func (c *Coordinator) leadWhileLeader(ctx context.Context) {
	leads := false
	stop := func(error) {}
	defer func() { stop(errStopping) }()
	for {
		select {
		case <-ctx.Done():
			return
		case leads = <-c.log.Leadership():
			stop(lead.ErrNotLeading)
			stop = func(error) {}
			if leads {
				stop = c.lead(ctx)
			}
		case pause := <-c.pauses:
			stop(pause.why)
			stop = func(error) {}
			pause.done <- pause.work()
			if leads {
				stop = c.lead(ctx)
			}
		}
	}
}

// lead begins a term, and returns a function that ends it.
func (c *Coordinator) lead(ctx context.Context) (stop func(why error)) {
	began := time.Now()
	end := c.leader.Begin(ctx)
	c.changes.send()
	return func(why error) {
		end(why)
		if c.replicated != nil && !errors.Is(why, errStopping) {
			c.logger.Warn("all sessions end; workers will reconnect", "sessions", c.leader.Connected(),
				"why", status.Convert(why).Message(), "led", time.Since(began).Round(time.Millisecond))
		}
	}
}

// whilePaused does work while the leader's loops are paused, and ends all sessions.
func (c *Coordinator) whilePaused(ctx context.Context, why error, work func() error) error {
	asked := pause{why: why, work: work, done: make(chan error, 1)}
	select {
	case c.pauses <- asked:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.stopping.Done():
		return errStopping
	}
	return <-asked.done
}

// view is what a node knows of its cluster.
type view struct {
	// leader is the leader's address, if it is known.
	leader string
	known  bool
	// ready says that the node can serve calls: it leads, or it follows a leader and has what was recorded when it
	// started.
	ready bool
	// uncertain says that the node leads, or that it has been replaced and does not know it: its disk does not answer.
	// Until it does, the node's store may be that of before.
	uncertain bool
	// ctx is done when the leader has changed.
	ctx    context.Context
	cancel context.CancelFunc
}

// Ready says whether the node can serve calls: it leads, or knows who does and has caught up. It may be called at any time.
func (c *Coordinator) Ready() bool { return c.view.Load().ready }

// follow keeps the node's view of its cluster, and what the health service says, up to date.
func (c *Coordinator) follow(ctx context.Context, services *services) {
	ticker := time.NewTicker(followInterval)
	defer ticker.Stop()
	caughtUp := false
	target := uint64(0)
	current := c.view.Load()
	defer func() {
		if current.cancel != nil {
			current.cancel()
		}
	}()
	for {
		leader, known := c.log.Leader()
		leads := c.leader.Leads()
		caughtUp = caughtUp || leads || known && c.caughtUp(&target)
		next := &view{leader: leader, known: known, uncertain: leads && c.replicated != nil && c.replicated.Uncertain()}
		next.ready = leads && !next.uncertain || known && caughtUp && leader != c.address
		if next.leader != current.leader || next.known != current.known || next.ready != current.ready ||
			next.uncertain != current.uncertain || current.cancel == nil {
			if next.leader == current.leader && next.known == current.known && current.cancel != nil {
				next.ctx, next.cancel = current.ctx, current.cancel
			} else {
				next.ctx, next.cancel = context.WithCancel(ctx)
				if current.cancel != nil {
					current.cancel()
				}
			}
			current = next
			c.view.Store(current)
			c.changes.send()
			services.setReady(current.ready)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// caughtUp says whether a follower's store includes what was committed when the follower first heard of a leader.
// target is the first commit index that the leader has sent.
func (c *Coordinator) caughtUp(target *uint64) bool {
	if c.replicated == nil {
		return true
	}
	if *target == 0 {
		*target = c.replicated.Status().CommitIndex
	}
	return *target > 0 && c.replicated.Includes(*target)
}

// whyNoLeader says why this node knows no leader.
func (c *Coordinator) whyNoLeader() string {
	if c.replicated == nil {
		return "this coordinator is starting"
	}
	nodes, err := c.replicated.Nodes()
	if err == nil && len(nodes) == 0 {
		return fmt.Sprintf("this coordinator, %s, is not a member of a cluster yet: see 'trellis cluster add'",
			c.address)
	}
	return fmt.Sprintf("this coordinator, %s, knows no leader among its cluster's %d nodes: fewer than a majority "+
		"can be reached, or they are electing one", c.address, len(nodes))
}
