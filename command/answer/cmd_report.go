package answer

import (
	"context"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// ReportCommand is trellis report.
func ReportCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "report STUDY",
		Short: "Account for every point of a study's grid, and for what it took",
		Long: `Account for every point of a study's grid: how it was answered, or why it was not; what was trained, what
was taken over from other studies, and what that saved.

The digest is the same wherever, whenever and on however many workers the same points were trained with the same version
of the arithmetic: two people who have the same digest have the same answer.`,
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
