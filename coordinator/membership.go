package coordinator

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// joinTimeout is how long a node may take to add another.
	joinTimeout = 10 * time.Second
	// joinRetry and joinRetryMax bound the pause before all nodes are asked again.
	joinRetry    = time.Second
	joinRetryMax = 15 * time.Second
)

// becomeMember asks the nodes of a cluster to add this node, or waits until someone adds it. It does nothing if the
// node is already a member.
func (c *Coordinator) becomeMember(ctx context.Context) {
	if c.isMember() {
		return
	}
	id := c.replicated.Status().ID
	if len(c.config.Join) == 0 {
		c.logger.Warn("this coordinator waits to be added to a cluster: run 'trellis cluster add "+c.address+"' there",
			"id", id,
			"address", c.address)
	}
	pause := joinRetry
	for {
		if c.isMember() {
			c.logger.Info("this coordinator is now a member of a cluster", "id", id, "address", c.address)
			return
		}
		wait := pause
		if len(c.config.Join) == 0 {
			wait = joinRetry
		} else if err := c.join(ctx, id); err != nil {
			c.logger.Warn("could not join the cluster; will retry", "error", err, "after", wait)
			pause = min(2*pause, joinRetryMax)
		} else {
			wait, pause = followInterval, joinRetry
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// isMember says whether the node is a member of a cluster according to its log. This stays true once it has heard from
// the leader.
func (c *Coordinator) isMember() bool {
	nodes, err := c.replicated.Nodes()
	return err == nil && len(nodes) > 0
}

// join has this node added to the cluster. The node that --join names first forms the cluster instead if there is none: if
// all other nodes answer that they are in none. Where one can't be asked, it waits: a node that has lost its data must not
// form a second cluster while the other nodes are down.
func (c *Coordinator) join(ctx context.Context, id string) error {
	if c.config.Join[0] != c.address {
		return c.askToBeAdded(ctx, id)
	}
	for _, address := range c.others() {
		members, err := c.membersAt(ctx, address)
		if err != nil {
			return fmt.Errorf("this node forms the cluster once all others answer that they are in none: %s: %s", address,
				status.Convert(err).Message())
		}
		if members > 0 {
			return c.askToBeAdded(ctx, id)
		}
	}
	if err := c.replicated.Form(ctx); err != nil {
		return fmt.Errorf("form the cluster: %w", err)
	}
	c.logger.Info("this coordinator has formed the cluster, which the others now join", "id", id, "address", c.address)
	return nil
}

// others are the nodes that --join names, without this one.
func (c *Coordinator) others() []string {
	return slices.DeleteFunc(slices.Clone(c.config.Join), func(address string) bool { return address == c.address })
}

// membersAt asks a node how many members its cluster has: none while it is in no cluster.
func (c *Coordinator) membersAt(ctx context.Context, address string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	conn, done, err := c.peers.connect(address)
	if err != nil {
		return 0, err
	}
	defer done()
	answer, err := trellisv1.NewClusterServiceClient(conn).GetCluster(ctx, &trellisv1.GetClusterRequest{})
	return len(answer.GetNodes()), err
}

// askToBeAdded asks the other nodes one after the other to add this one, until one of them has had the leader do so.
func (c *Coordinator) askToBeAdded(ctx context.Context, id string) error {
	var failures error
	for _, address := range c.others() {
		err := c.askNode(ctx, address, &trellisv1.AddNodeRequest{Id: id, Address: c.address})
		if err == nil {
			c.logger.Info("the cluster has added this coordinator", "through", address, "id", id, "address", c.address)
			return nil
		}
		message := status.Convert(err).Message()
		if failures == nil {
			failures = fmt.Errorf("%s: %s", address, message)
		} else {
			failures = fmt.Errorf("%w; %s: %s", failures, address, message)
		}
	}
	return failures
}

func (c *Coordinator) askNode(ctx context.Context, address string, request *trellisv1.AddNodeRequest) error {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	conn, done, err := c.peers.connect(address)
	if err != nil {
		return err
	}
	defer done()
	_, err = trellisv1.NewClusterServiceClient(conn).AddNode(ctx, request)
	return err
}
