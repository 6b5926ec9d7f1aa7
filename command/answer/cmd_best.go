package answer

import (
	"context"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

func init() { cli.Register(cli.Answers, 10, BestCommand) }

// BestCommand is trellis best.
func BestCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "best STUDY",
		Short: "Show a study's best configuration and how certain it is",
		Long: `Show a study's best configuration so far and how certain it is.

With several seeds, configurations are ranked by the mean of their objective, which is the lowest validation loss unless the spec
names another. The configurations that are statistically
tied with the best are listed, with what would separate them. The truly best configuration is one of these with at least
the given confidence, provided that differences between seeds are roughly normal. The test loss has no influence.

With one seed, a difference may be chance. The best trial is then the one with the best objective.`,
		Example: `  trellis best paper
  trellis best paper --confidence 0.99 -o json`,
		Args: cli.Operands("STUDY"),
	}
	options, format := cli.ClientFlags(cmd, client.DefaultWait), cli.OutputFlag(cmd)
	cmd.ValidArgsFunction = cli.CompleteStudies(options)
	request := new(trellisv1.GetBestTrialRequest)
	confidenceFlag(cmd, &request.Confidence)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request.Study = args[0]
		if err := checkConfidence(cmd, request.GetConfidence()); err != nil {
			return err
		}
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			best, err := client.Call(ctx, client.CallTimeout, c.GetBestTrial, request)
			if err != nil {
				return err
			}
			if hasDiverged(best) {
				return errDiverged(best.GetStudy())
			}
			switch *format {
			case output.Table:
				return WriteBest(env.Out, best)
			case output.CSV:
				columns := ColumnsOf(best.GetStudy().GetSpec())
				return output.WriteOne(env.Out, *format, best.GetTrial(), withMetrics(columns, metricsOf(best.GetTrial())))
			default:
				return output.WriteMessage(env.Out, *format, best)
			}
		})
	}
	return cmd
}
