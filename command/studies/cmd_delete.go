package studies

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	trellisv1 "trellis/proto/trellis/v1"
)

// DeleteCommand is trellis delete.
func DeleteCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete STUDY",
		Short: "Forget a study and its results; one that is still running is canceled first",
		Args:  cli.Operands("STUDY"),
	}
	options := cli.ClientFlags(cmd, client.DefaultWait)
	cmd.ValidArgsFunction = cli.CompleteStudies(options)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			_, err := client.Call(ctx, client.CallTimeout, c.DeleteStudy, &trellisv1.DeleteStudyRequest{Study: args[0]})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(env.Out, "Study %s is deleted.\n", args[0])
			return err
		})
	}
	return cmd
}
