package cluster

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	trellisv1 "trellis/proto/trellis/v1"
)

func init() { cli.Register(cli.Cluster, 40, ClusterCommand) }

// ClusterCommand is trellis cluster.
func ClusterCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Manage the nodes of a cluster",
		Long: `Manage a cluster of coordinators that replicate one log. Each coordinator is a node of the cluster, and
every node answers all commands. Acknowledged data is on disk on a majority of the nodes: three nodes tolerate the loss
of one, five the loss of two.

Start a cluster with one node and add the others:

    trellis coordinator --listen :7070 --insecure                            # on host a
    trellis coordinator --listen :7070 --insecure --join a:7070              # on hosts b and c
    export TRELLIS_COORDINATOR=a:7070,b:7070,c:7070                          # for workers and commands
    export TRELLIS_INSECURE=true

With TLS instead of --insecure, nodes accept one another by their certificates: see trellis certificates --help.

Checkpoints are not part of the log. Give all nodes the same --artifacts, a bucket or a shared folder, so that runs
continue from their checkpoints when another node becomes the leader.`,
		Args: cli.UnknownSubcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(clusterStatusCommand(env), clusterAddCommand(env), clusterRemoveCommand(env),
		clusterTransferCommand(env))
	return cmd
}

// writeChange writes what has been done to the cluster, and what it is now.
func writeChange(ctx context.Context, env *cli.Environment, c *client.Client, done string) error {
	answer, err := client.Call(ctx, client.CallTimeout, c.GetCluster, &trellisv1.GetClusterRequest{})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.Out, "%s %s\n", done, describeSize(len(answer.GetNodes())))
	return err
}
