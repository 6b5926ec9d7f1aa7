package cluster

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	trellisv1 "trellis/proto/trellis/v1"
)

func clusterAddCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add ADDRESS",
		Short: "Make a coordinator that waits to be added a node of the cluster",
		Long: `Make the coordinator at ADDRESS a node of the cluster. It has been started with an empty data directory
and --wait-to-be-added, and gets the log from the leader. With --join, a coordinator asks for this by itself.`,
		Example: `  trellis coordinator --listen :7070 --insecure --wait-to-be-added      # on host b
  trellis cluster add b:7070 --coordinator a:7070`,
		Args: cli.Operands("ADDRESS"),
	}
	options := cli.ClientFlags(cmd, client.DefaultWait)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			return addNode(ctx, env, c, args[0])
		})
	}
	return cmd
}

// addNode adds the coordinator at an address to the client's cluster, after making sure that it is one that waits for
// this.
func addNode(ctx context.Context, env *cli.Environment, c *client.Client, address string) error {
	there, err := client.AskCluster(ctx, address)
	if err != nil {
		return fmt.Errorf("ask the coordinator at %s who it is: %w", address, err)
	}
	here, err := client.Call(ctx, client.CallTimeout, c.GetCluster, &trellisv1.GetClusterRequest{})
	if err != nil {
		return err
	}
	node := there.GetStatus()
	isMember := slices.ContainsFunc(here.GetNodes(), func(n *trellisv1.Node) bool {
		return n.GetId() == node.GetId() && n.GetAddress() == node.GetAddress()
	})
	switch {
	case isMember:
		_, err := fmt.Fprintf(env.Out, "Node %s at %s is in the cluster already.\n", node.GetId(), address)
		return err
	case len(here.GetNodes()) == 0:
		return fmt.Errorf("the coordinator at %s belongs to no cluster itself: give a node that does with "+
			"--coordinator",
			c.Address)
	case node.GetAddress() != address:
		return fmt.Errorf("the coordinator at %s calls itself %s, which is where the other nodes would look for it: "+
			"add it by "+
			"that address, or start it with --advertise %s", address, node.GetAddress(), address)
	case len(there.GetNodes()) > 0 && !sharesNode(here.GetNodes(), there.GetNodes()):
		return fmt.Errorf("the coordinator at %s belongs to a cluster of its own, whose studies would be lost: "+
			"start it with an "+
			"empty data directory and --wait-to-be-added", address)
	}
	_, err = client.Call(ctx, client.CreateTimeout, c.AddNode,
		&trellisv1.AddNodeRequest{Id: node.GetId(), Address: address})
	if err != nil {
		return err
	}
	return writeChange(ctx, env, c, fmt.Sprintf("Node %s at %s is in the cluster.", node.GetId(), address))
}

// sharesNode says whether two clusters have a node in common, and are one therefore.
func sharesNode(a, b []*trellisv1.Node) bool {
	return slices.ContainsFunc(a, func(node *trellisv1.Node) bool {
		return slices.ContainsFunc(b, func(other *trellisv1.Node) bool { return node.GetId() == other.GetId() })
	})
}
