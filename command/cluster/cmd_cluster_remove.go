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
		Short: "Take a node out of the cluster; NODE is its id or its address",
		Long: `Take a node out of the cluster; NODE is its id or its address. It may be away for good. One that still
runs is to be stopped then, and its data directory deleted before it is used again.`,
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
			return writeChange(ctx, env, c, fmt.Sprintf("Node %s is out of the cluster: stop it, if it still runs.",
				args[0]))
		})
	}
	return cmd
}
