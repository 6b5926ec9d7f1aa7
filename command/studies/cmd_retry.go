package studies

import (
	"context"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// RetryCommand is trellis retry.
func RetryCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retry STUDY",
		Short: "Take up again what has failed in a study, or what a heuristic has pruned",
		Long: `Take up again what has failed in a study, each run from its last checkpoint. With --pruned, what a
heuristic has pruned too: it is trained to its end then, and the answer is that of the whole grid.`,
		Example: `  trellis retry paper
  trellis retry paper --pruned --watch`,
		Args: cli.Operands("STUDY"),
	}
	options, format := cli.ClientFlags(cmd, client.DefaultWait), cli.OutputFlag(cmd)
	cmd.ValidArgsFunction = cli.CompleteStudies(options)
	request := new(trellisv1.RetryStudyRequest)
	cmd.Flags().BoolVar(&request.Pruned, "pruned", false, "take up what was pruned too; it is not pruned again")
	watch := cmd.Flags().Bool("watch", false, "follow the study until it has ended")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request.Study = args[0]
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			response, err := client.Call(ctx, client.CreateTimeout, c.RetryStudy, request)
			if err != nil {
				return err
			}
			what := output.Count(response.GetRuns(), "run") + " taken up again"
			return writeTakenUp(ctx, env, c, *format, response.GetStudy(), what, *watch)
		})
	}
	return cmd
}
