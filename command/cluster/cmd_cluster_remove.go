package cluster

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	trellisv1 "trellis/proto/trellis/v1"
)

func clusterRemoveCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove NODE",
		Short: "Remove a node from the cluster",
		Long: `Remove a node from the cluster. NODE is its id or address. The node does not have to be running. If it is
running, stop it afterwards, and delete its data directory before you use the node again.`,
		Args: cli.Operands("NODE"),
	}
	options := cli.ClientFlags(cmd, client.DefaultWait)
	cmd.ValidArgsFunction = cli.CompleteNodes(options)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			_, err := client.Call(ctx, client.CallTimeout, c.RemoveNode, &trellisv1.RemoveNodeRequest{Node: args[0]})
			if err != nil {
				return err
			}
			return writeChange(ctx, env, c, fmt.Sprintf("Node %s removed: stop it if it is still running.",
				args[0]))
		})
	}
	return cmd
}
