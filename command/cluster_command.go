package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	trellisv1 "trellis/proto/trellis/v1"
)

// leaderTimeout is how long a new leader may take to be known everywhere.
const leaderTimeout = 10 * time.Second

// leaderPause is how often a leader is asked for.
const leaderPause = 50 * time.Millisecond

func (cli *commandLine) clusterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Look after several coordinators that replicate one log",
		Long: `Look after several coordinators that replicate one log. Each is a node of the cluster, and answers every command.
What is acknowledged is on disk at a majority of them: three go on without any one, five without any two.

A cluster grows from one node:

    trellis coordinator --listen :7070 --insecure                            # on host a
    trellis coordinator --listen :7070 --insecure --join a:7070              # on hosts b and c
    export TRELLIS_COORDINATOR=a:7070,b:7070,c:7070                          # for workers and commands

Checkpoints are not part of the log. Give all nodes the same --artifacts, a bucket or a shared folder, so that runs go on
from them whichever node leads.`,
		Args: unknownSubcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(cli.clusterStatusCommand(), cli.clusterAddCommand(), cli.clusterRemoveCommand(),
		cli.clusterTransferCommand())
	return cmd
}

// unknownSubcommand refuses a word that is none of a command's commands.
func unknownSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, command := range cmd.Commands() {
		names = append(names, command.Name())
	}
	return fmt.Errorf("%s has no command %q: there are %s", cmd.Name(), args[0], enumerate(names))
}

func (cli *commandLine) clusterStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the nodes, as each sees itself",
		Args:  operands(),
	}
	options, format := clientFlags(cmd, DefaultWait), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return cli.withClient(cmd.Context(), options, func(ctx context.Context, c *client) error {
			answer, err := call(ctx, callTimeout, c.GetCluster, &trellisv1.GetClusterRequest{})
			if err != nil {
				return err
			}
			rows := clusterRows(ctx, answer)
			if err := writeNodes(cli.stdout, *format, rows); err != nil {
				return fmt.Errorf("write the nodes: %w", err)
			}
			if *format != formatTable {
				return nil
			}
			switch {
			case len(answer.GetNodes()) == 0:
				_, err = fmt.Fprintf(cli.stderr, "This node waits to be added to a cluster: trellis cluster add %s --coordinator NODE\n",
					answer.GetStatus().GetAddress())
			case answer.GetStatus().GetId() == "":
				_, err = fmt.Fprintln(cli.stderr, "Its studies are in memory only, so there is no other node.")
			default:
				_, err = fmt.Fprintln(cli.stderr, describeSafety(rows))
			}
			return err
		})
	}
	return cmd
}

func (cli *commandLine) clusterAddCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add ADDRESS",
		Short: "Make a coordinator that waits to be added a node of the cluster",
		Long: `Make the coordinator at ADDRESS a node of the cluster. It has been started with an empty data directory and
--wait-to-be-added, and gets the log from the leader. With --join, a coordinator asks for this by itself.`,
		Example: `  trellis coordinator --listen :7070 --insecure --wait-to-be-added      # on host b
  trellis cluster add b:7070 --coordinator a:7070`,
		Args: operands("ADDRESS"),
	}
	options := clientFlags(cmd, DefaultWait)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return cli.withClient(cmd.Context(), options, func(ctx context.Context, c *client) error {
			return cli.addNode(ctx, c, args[0])
		})
	}
	return cmd
}

// addNode adds the coordinator at an address to the client's cluster, after making sure that it is one that waits for
// this.
func (cli *commandLine) addNode(ctx context.Context, c *client, address string) error {
	there, err := askCluster(ctx, address)
	if err != nil {
		return fmt.Errorf("ask the coordinator at %s who it is: %w", address, err)
	}
	here, err := call(ctx, callTimeout, c.GetCluster, &trellisv1.GetClusterRequest{})
	if err != nil {
		return err
	}
	node := there.GetStatus()
	isMember := slices.ContainsFunc(here.GetNodes(), func(n *trellisv1.Node) bool {
		return n.GetId() == node.GetId() && n.GetAddress() == node.GetAddress()
	})
	switch {
	case isMember:
		_, err := fmt.Fprintf(cli.stdout, "Node %s at %s is in the cluster already.\n", node.GetId(), address)
		return err
	case len(here.GetNodes()) == 0:
		return fmt.Errorf("the coordinator at %s belongs to no cluster itself: give a node that does with --coordinator",
			c.address)
	case node.GetAddress() != address:
		return fmt.Errorf("the coordinator at %s calls itself %s, which is where the other nodes would look for it: add it by "+
			"that address, or start it with --advertise %s", address, node.GetAddress(), address)
	case len(there.GetNodes()) > 0 && !sharesNode(here.GetNodes(), there.GetNodes()):
		return fmt.Errorf("the coordinator at %s belongs to a cluster of its own, whose studies would be lost: start it with an "+
			"empty data directory and --wait-to-be-added", address)
	}
	_, err = call(ctx, createTimeout, c.AddNode, &trellisv1.AddNodeRequest{Id: node.GetId(), Address: address})
	if err != nil {
		return err
	}
	return cli.writeChange(ctx, c, fmt.Sprintf("Node %s at %s is in the cluster.", node.GetId(), address))
}

// sharesNode says whether two clusters have a node in common, and are one therefore.
func sharesNode(a, b []*trellisv1.Node) bool {
	return slices.ContainsFunc(a, func(node *trellisv1.Node) bool {
		return slices.ContainsFunc(b, func(other *trellisv1.Node) bool { return node.GetId() == other.GetId() })
	})
}

// writeChange writes what has been done to the cluster, and what it is now.
func (cli *commandLine) writeChange(ctx context.Context, c *client, done string) error {
	answer, err := call(ctx, callTimeout, c.GetCluster, &trellisv1.GetClusterRequest{})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cli.stdout, "%s %s\n", done, describeSize(len(answer.GetNodes())))
	return err
}

func (cli *commandLine) clusterRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove NODE",
		Short: "Take a node out of the cluster; NODE is its id or its address",
		Long: `Take a node out of the cluster; NODE is its id or its address. It may be away for good. One that still runs is to be
stopped then, and its data directory deleted before it is used again.`,
		Args: operands("NODE"),
	}
	options := clientFlags(cmd, DefaultWait)
	cmd.ValidArgsFunction = completeNodes(options)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return cli.withClient(cmd.Context(), options, func(ctx context.Context, c *client) error {
			_, err := call(ctx, callTimeout, c.RemoveNode, &trellisv1.RemoveNodeRequest{Node: args[0]})
			if err != nil {
				return err
			}
			return cli.writeChange(ctx, c, fmt.Sprintf("Node %s is out of the cluster: stop it, if it still runs.", args[0]))
		})
	}
	return cmd
}

func (cli *commandLine) clusterTransferCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "transfer [NODE]",
		Short: "Make another node the leader: NODE, or the one that is the most up to date",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return operands("NODE")(cmd, args)
		},
	}
	options := clientFlags(cmd, DefaultWait)
	cmd.ValidArgsFunction = completeNodes(options)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request := new(trellisv1.TransferLeadershipRequest)
		if len(args) > 0 {
			request.Node = args[0]
		}
		return cli.withClient(cmd.Context(), options, func(ctx context.Context, c *client) error {
			answer, err := call(ctx, callTimeout, c.GetCluster, &trellisv1.GetClusterRequest{})
			if err != nil {
				return err
			}
			if len(answer.GetNodes()) == 1 {
				return errors.New("the cluster has one node: there is no other that could lead. Add one: trellis cluster add --help")
			}
			if _, err := call(ctx, callTimeout, c.TransferLeadership, request); err != nil {
				return err
			}
			leader, err := c.newLeader(ctx, leaderOf(answer.GetNodes()))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cli.stdout, "The leader is %s.\n", leader)
			return err
		})
	}
	return cmd
}

// newLeader returns the address of the leader after the one that was before, as soon as the client's node knows it.
func (c *client) newLeader(parent context.Context, before string) (string, error) {
	ctx, cancel := context.WithTimeout(parent, leaderTimeout)
	defer cancel()
	for {
		answer, err := call(ctx, callTimeout, c.GetCluster, &trellisv1.GetClusterRequest{})
		if leader := leaderOf(answer.GetNodes()); err == nil && leader != "" && leader != before {
			return leader, nil
		}
		select {
		case <-time.After(leaderPause):
		case <-ctx.Done():
			if parent.Err() != nil {
				return "", context.Cause(parent)
			}
			return "", fmt.Errorf("%s has handed over, but %s knows of no new leader after %v: see trellis cluster status", before,
				c.address, leaderTimeout)
		}
	}
}
