package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	trellisv1 "trellis/proto/trellis/v1"
)

// leaderTimeout is how long a new leader may take to be known everywhere.
const leaderTimeout = 10 * time.Second

func clusterTransferCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "transfer [NODE]",
		Short: "Transfer leadership to another node",
		Long:  `Transfer leadership to NODE, or to the most up-to-date node if NODE is left out.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return cli.Operands("NODE")(cmd, args)
		},
	}
	options := cli.ClientFlags(cmd, client.DefaultWait)
	cmd.ValidArgsFunction = cli.CompleteNodes(options)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request := new(trellisv1.TransferLeadershipRequest)
		if len(args) > 0 {
			request.Node = args[0]
		}
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			answer, err := client.Call(ctx, client.CallTimeout, c.GetCluster, &trellisv1.GetClusterRequest{})
			if err != nil {
				return err
			}
			if len(answer.GetNodes()) == 1 {
				return errors.New("the cluster has only one node: to add another, see trellis cluster add --help")
			}
			if _, err := client.Call(ctx, client.CallTimeout, c.TransferLeadership, request); err != nil {
				return err
			}
			leader, err := newLeader(ctx, c, client.LeaderOf(answer.GetNodes()))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(env.Out, "The leader is %s.\n", leader)
			return err
		})
	}
	return cmd
}

// newLeader returns the address of the leader after the one that was before, as soon as the client's node knows it.
func newLeader(parent context.Context, c *client.Client, before string) (string, error) {
	ctx, cancel := context.WithTimeout(parent, leaderTimeout)
	defer cancel()
	for {
		answer, err := client.Call(ctx, client.CallTimeout, c.GetCluster, &trellisv1.GetClusterRequest{})
		if leader := client.LeaderOf(answer.GetNodes()); err == nil && leader != "" && leader != before {
			return leader, nil
		}
		select {
		case <-time.After(client.LeaderPause):
		case <-ctx.Done():
			if parent.Err() != nil {
				return "", context.Cause(parent)
			}
			return "", fmt.Errorf("%s handed over leadership, but %s knows no new leader after %v: see trellis "+
				"cluster status", before,
				c.Address, leaderTimeout)
		}
	}
}
