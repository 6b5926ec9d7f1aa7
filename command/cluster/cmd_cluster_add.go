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
		Short: "Add a waiting coordinator to the cluster",
		Long: `Add the coordinator at ADDRESS to the cluster. Start it with an empty data directory and
--wait-to-be-added; it then receives the log from the leader. A coordinator started with --join is added automatically.`,
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
	there, err := c.AskNode(ctx, address)
	if err != nil {
		return fmt.Errorf("ask the coordinator at %s for its id: %w", address, err)
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
		_, err := fmt.Fprintf(env.Out, "Node %s at %s is already in the cluster.\n", node.GetId(), address)
		return err
	case len(here.GetNodes()) == 0:
		return fmt.Errorf("the coordinator at %s is not in a cluster: choose a node of the cluster with --coordinator",
			c.Address)
	case node.GetAddress() != address:
		return fmt.Errorf("the coordinator at %s advertises the address %s, which the other nodes would use: add it "+
			"by that address, or start it with --advertise %s", address, node.GetAddress(), address)
	case len(there.GetNodes()) > 0 && !sharesNode(here.GetNodes(), there.GetNodes()):
		return fmt.Errorf("the coordinator at %s is in another cluster, whose studies would be lost: start it with "+
			"an empty data directory and --wait-to-be-added", address)
	}
	_, err = client.Call(ctx, client.CreateTimeout, c.AddNode,
		&trellisv1.AddNodeRequest{Id: node.GetId(), Address: address})
	if err != nil {
		return err
	}
	return writeChange(ctx, env, c, fmt.Sprintf("Node %s at %s added.", node.GetId(), address))
}

// sharesNode says whether two clusters have a node in common, and are one therefore.
func sharesNode(a, b []*trellisv1.Node) bool {
	return slices.ContainsFunc(a, func(node *trellisv1.Node) bool {
		return slices.ContainsFunc(b, func(other *trellisv1.Node) bool { return node.GetId() == other.GetId() })
	})
}
