package cluster

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

func clusterStatusCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the status of the nodes",
		Args:  cli.Operands(),
	}
	options, format := cli.ClientFlags(cmd, client.DefaultWait), cli.OutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			answer, err := client.Call(ctx, client.CallTimeout, c.GetCluster, &trellisv1.GetClusterRequest{})
			if err != nil {
				return err
			}
			rows := clusterRows(ctx, c, answer)
			if err := writeNodes(env.Out, *format, rows); err != nil {
				return fmt.Errorf("write the nodes: %w", err)
			}
			if *format != output.Table {
				return nil
			}
			switch {
			case len(answer.GetNodes()) == 0:
				_, err = fmt.Fprintf(env.Err, "This node is waiting to be added to a cluster: trellis cluster add "+
					"%s --coordinator NODE\n",
					answer.GetStatus().GetAddress())
			case answer.GetStatus().GetId() == "":
				_, err = fmt.Fprintln(env.Err, "Its studies are in memory only, so it cannot have other nodes.")
			default:
				_, err = fmt.Fprintln(env.Err, describeSafety(rows))
			}
			return err
		})
	}
	return cmd
}
