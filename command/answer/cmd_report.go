package answer

import (
	"context"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

func init() { cli.Register(cli.Answers, 40, ReportCommand) }

// ReportCommand is trellis report.
func ReportCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "report STUDY",
		Short: "Show how each trial of a study got its result and what it cost",
		Long: `Show how each trial of a study got its result, or why it has none: what was trained, what was shared with
other studies, and what that saved.

The digest identifies the results. It is the same on every machine and with any number of workers, as long as the
version of the arithmetic is the same. Two people with the same digest have the same results.`,
		Example: `  trellis report paper
  trellis report paper -o json`,
		Args: cli.Operands("STUDY"),
	}
	options, format := cli.ClientFlags(cmd, client.DefaultWait), cli.OutputFlag(cmd)
	cmd.ValidArgsFunction = cli.CompleteStudies(options)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			response, err := client.Call(ctx, client.CallTimeout, c.GetReport,
				&trellisv1.GetReportRequest{Study: args[0]})
			if err != nil {
				return err
			}
			if *format != output.Table {
				return output.WriteOne(env.Out, *format, response.GetReport(), reportColumns)
			}
			return writeReport(env.Out, response.GetReport())
		})
	}
	return cmd
}
