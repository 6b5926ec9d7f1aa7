package client

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/exit"
	trellisv1 "trellis/proto/trellis/v1"
)

// LeaderPause is how often a leader is asked for.
const LeaderPause = 50 * time.Millisecond

// nodeTimeout bounds how long cluster status waits for one node.
const nodeTimeout = 3 * time.Second

// AskNode asks the node at another address for its own state, and for its cluster as it knows it.
func (c *Client) AskNode(ctx context.Context, address string) (*trellisv1.GetClusterResponse, error) {
	c, err := New(address, c.Credentials, io.Discard)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.Reach(ctx, nodeTimeout, true); err != nil {
		return nil, err
	}
	return Call(ctx, nodeTimeout, c.GetCluster, &trellisv1.GetClusterRequest{})
}

// LeaderOf returns the address of the cluster's leader, empty if there is none at the moment.
func LeaderOf(nodes []*trellisv1.Node) string {
	i := slices.IndexFunc(nodes, (*trellisv1.Node).GetLeader)
	if i < 0 {
		return ""
	}
	return nodes[i].GetAddress()
}

// AwaitLeader waits until a coordinator that is starting has read its log, and a cluster has elected a leader.
func (c *Client) AwaitLeader(parent context.Context) error {
	ctx, cancel := context.WithTimeout(parent, DefaultWait)
	defer cancel()
	for {
		answer, err := Call(ctx, CallTimeout, c.GetCluster, &trellisv1.GetClusterRequest{})
		switch {
		case err == nil && (len(answer.GetNodes()) == 0 || LeaderOf(answer.GetNodes()) != ""):
			return nil
		case err == nil:
			err = fmt.Errorf("%w: no leader was elected within %v: see trellis cluster status", exit.ErrUnavailable,
				DefaultWait)
		case status.Code(err) != codes.Unavailable && ctx.Err() == nil:
			return err
		}
		select {
		case <-time.After(LeaderPause):
		case <-ctx.Done():
			if parent.Err() != nil {
				return context.Cause(parent)
			}
			return err
		}
	}
}
