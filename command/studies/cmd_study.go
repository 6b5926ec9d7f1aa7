package studies

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/status"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/describe"
	"trellis/command/output"
	"trellis/command/progress"
	trellisv1 "trellis/proto/trellis/v1"
)

func init() { cli.Register(cli.Search, 40, StudyCommand) }

// StudyCommand is trellis study.
func StudyCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "study STUDY",
		Aliases: []string{"status"},
		Short:   "Show a study's state, progress and spec",
		Long: `Show a study's state and progress, what it is waiting for, what has failed, what it shares with other
studies, and its spec with all defaults filled in.`,
		Example: `  trellis study paper
  trellis study paper -o json`,
		Args: cli.Operands("STUDY"),
	}
	options, format := cli.ClientFlags(cmd, client.DefaultWait), cli.OutputFlag(cmd)
	cmd.ValidArgsFunction = cli.CompleteStudies(options)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			response, err := client.Call(ctx, client.CallTimeout, c.GetStudy,
				&trellisv1.GetStudyRequest{Study: args[0]})
			if err != nil {
				return err
			}
			if *format != output.Table {
				return output.WriteOne(env.Out, *format, response.GetStudy(), describe.StudyColumns)
			}
			report, err := client.Call(ctx, client.CallTimeout, c.GetReport,
				&trellisv1.GetReportRequest{Study: args[0]})
			if err != nil {
				return err
			}
			losing, err := progress.Losing(ctx, c, response.GetStudy())
			if err != nil {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				fmt.Fprintf(env.Err, "Runs that lose their workers are not listed: %s\n", status.Convert(err).Message())
			}
			return writeStudy(env.Out, response.GetStudy(), report.GetReport(), losing, time.Now(),
				cli.Elsewhere(c.Address))
		})
	}
	return cmd
}
