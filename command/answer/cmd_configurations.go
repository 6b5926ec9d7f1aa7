package answer

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

func init() { cli.Register(cli.Answers, 20, ConfigurationsCommand) }

// ConfigurationsCommand is trellis configurations.
func ConfigurationsCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "configurations STUDY",
		Short: "Rank a study's configurations by their mean over the seeds",
		Long: `Rank a study's configurations by the mean of their objective over the seeds. A configuration is a point of
the grid without its seed.

MEAN is shown with its confidence interval. DIFFERENCE is the mean difference to the best configuration, seed by seed,
with an interval that is corrected for the number of comparisons. CONTENDER says whether the configuration is the best
or statistically tied with the best. The means of the model's other metrics follow.`,
		Example: `  trellis configurations paper --limit 5
  trellis configurations paper -o csv > configurations.csv`,
		Args: cli.Operands("STUDY"),
	}
	options, format := cli.ClientFlags(cmd, client.DefaultWait), cli.OutputFlag(cmd)
	cmd.ValidArgsFunction = cli.CompleteStudies(options)
	request := new(trellisv1.ListConfigurationsRequest)
	confidenceFlag(cmd, &request.Confidence)
	var limit uint64
	cmd.Flags().Uint64Var(&limit, "limit", 0,
		fmt.Sprintf("maximum number of configurations, 0 for all (default %d for table)", tableRows))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request.Study = args[0]
		if err := checkConfidence(cmd, request.GetConfidence()); err != nil {
			return err
		}
		if !cmd.Flags().Changed("limit") && *format == output.Table {
			limit = tableRows
		}
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			columns := configurationColumns(nil)
			if *format == output.Table || *format == output.CSV {
				response, err := client.Call(ctx, client.CallTimeout, c.GetStudy,
					&trellisv1.GetStudyRequest{Study: request.GetStudy()})
				if err != nil {
					return err
				}
				columns = configurationColumnsOf(response.GetStudy().GetSpec())
			}
			list := &configurationList{out: env.Out, format: *format, columns: columns}
			total, err := c.EachConfiguration(ctx, request, limit, list.Add)
			if err != nil {
				return err
			}
			if err := list.Close("The study has no configurations."); err != nil {
				return err
			}
			if *format == output.Table && limit > 0 && total > limit {
				_, err = fmt.Fprintf(env.Err, "Showing %d of %s. To show all, use --limit 0\n", limit,
					output.Count(total, "configuration"))
			}
			return err
		})
	}
	return cmd
}
