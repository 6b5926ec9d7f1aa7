package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
			c.logger.Warn("could not join the cluster; will retry", "error", err, "address", c.address,
				"after", wait)
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

// noClusterError says that the node that was asked is in no cluster, and which nodes it was told to join.
type noClusterError struct{ join []string }

func (e noClusterError) Error() string {
	if len(e.join) == 0 {
		return "in no cluster, and it does not say which --join it has: it has none, or is of an older version"
	}
	return "in no cluster, with --join=" + strings.Join(e.join, ",")
}

// join has this node added to the cluster of the nodes that --join names. If all of them are in none, the one with the
// lowest address forms it, whatever the order of the list. Where one can't be asked, it waits: a node that has lost its
// data must not form a second cluster while the other nodes are down. Where one has another list, it waits too: two
// lists without a common lowest address would be two clusters. As all members of a cluster that is formed have its
// list, no other list that has one of them can be formed.
func (c *Coordinator) join(ctx context.Context, id string) error {
	own := slices.Compact(slices.Sorted(slices.Values(c.config.Join)))
	forms, differ := own[0] == c.address, false
	var reasons, named []string
	for _, address := range c.config.Join {
		if address == c.address {
			continue
		}
		err := c.joinThrough(ctx, address, id)
		if err == nil {
			c.logger.Info("the cluster has added this coordinator", "through", address, "id", id, "address", c.address)
			return nil
		}
		var without noClusterError
		alone := errors.As(err, &without)
		if alone && !slices.Equal(without.join, own) {
			differ = true
		}
		forms, named = forms && alone, append(named, without.join...)
		reasons = append(reasons, address+": "+status.Convert(err).Message())
	}
	said := strings.Join(reasons, "; ")
	if differ {
		right := slices.Compact(slices.Sorted(slices.Values(slices.Concat(named, own, []string{c.address}))))
		return fmt.Errorf("%s; this one has --join=%s: start all of them with the same list, such as --join=%s", said,
			strings.Join(own, ","), strings.Join(right, ","))
	}
	if !forms {
		return fmt.Errorf("%s (if all are in no cluster, the lowest address forms one: %s)", said, own[0])
	}
	if err := c.replicated.Form(ctx); err != nil {
		return fmt.Errorf("form the cluster: %w", err)
	}
	c.logger.Info("this coordinator has formed the cluster, which the others now join", "id", id, "address", c.address)
	return nil
}

// joinThrough asks a node to have this one added to its cluster.
func (c *Coordinator) joinThrough(ctx context.Context, address, id string) error {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	conn, done, err := c.peers.connect(address)
	if err != nil {
		return err
	}
	defer done()
	client := trellisv1.NewClusterServiceClient(conn)
	answer, err := client.GetCluster(ctx, &trellisv1.GetClusterRequest{})
	switch {
	case err != nil:
		return err
	case answer.GetStatus().GetId() == id:
		// Whoever asks again by this name may reach another node, so this one does not form a cluster because of it.
		return fmt.Errorf("this is the node itself, which the others know as %s: write that in --join of all nodes, or set "+
			"--advertise to %s", c.address, address)
	case len(answer.GetNodes()) == 0:
		return noClusterError{answer.GetJoin()}
	}
	_, err = client.AddNode(ctx, &trellisv1.AddNodeRequest{Id: id, Address: c.address})
	return err
}
