package studies

import (
	"context"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

func init() { cli.Register(cli.Search, 90, RetryCommand) }

// RetryCommand is trellis retry.
func RetryCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retry STUDY",
		Short: "Retry a study's failed runs",
		Long: `Retry a study's failed runs, each from its last checkpoint. Runs for which workers reported different losses are
trained anew, from the start.

With --pruned, also continue the pruned runs. They are trained to the end, so that the result is that of the whole
grid.`,
		Example: `  trellis retry paper
  trellis retry paper --pruned --watch`,
		Args: cli.Operands("STUDY"),
	}
	options, format := cli.ClientFlags(cmd, client.DefaultWait), cli.OutputFlag(cmd)
	cmd.ValidArgsFunction = cli.CompleteStudies(options)
	request := new(trellisv1.RetryStudyRequest)
	cmd.Flags().BoolVar(&request.Pruned, "pruned", false, "also continue pruned runs, without pruning them again")
	watch := cmd.Flags().Bool("watch", false, "follow the study until it ends")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request.Study = args[0]
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			response, err := client.Call(ctx, client.CreateTimeout, c.RetryStudy, request)
			if err != nil {
				return err
			}
			what := output.Count(response.GetRuns(), "run") + " to retry"
			return writeTakenUp(ctx, env, c, *format, response.GetStudy(), what, *watch)
		})
	}
	return cmd
}
