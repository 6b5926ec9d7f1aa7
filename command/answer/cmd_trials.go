package answer

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/describe"
	"trellis/command/output"
	"trellis/command/spec"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// tableRows is how many trials a table shows unless --limit says otherwise.
const tableRows = 50

func init() { cli.Register(cli.Answers, 30, TrialsCommand) }

// TrialsCommand is trellis trials.
func TrialsCommand(env *cli.Environment) *cobra.Command {
	var parameters []string
	for _, axis := range spec.CommonAxes() {
		parameters = append(parameters, axis.GetName())
	}
	parameters = append(parameters, grid.Seed)
	cmd := &cobra.Command{
		Use:   "trials STUDY",
		Short: "List a study's trials and their results",
		Long: `List a study's trials and their results.

--order-by sorts by a field: index, objective, test_loss, state, epochs or best_epoch; a parameter, such as an axis of
the model or one of
` + strings.Join(parameters, ", ") + `;
or a metric, such as accuracy or test_accuracy. objective sorts the best first. Other fields sort ascending, also a metric
that is maximized: prefix a field with - to sort descending. Trials without a value come last.

--filter takes a CEL expression over the same fields.`,
		Example: `  trellis trials mnist --order-by objective --limit 5
  trellis trials mnist --filter 'latent_dim == 16 && objective < 0.02'
  trellis trials digits --order-by -accuracy --filter 'accuracy > 0.9'
  trellis trials mnist -o csv > trials.csv`,
		Args: cli.Operands("STUDY"),
	}
	options, format := cli.ClientFlags(cmd, client.DefaultWait), cli.OutputFlag(cmd)
	cmd.ValidArgsFunction = cli.CompleteStudies(options)
	request := new(trellisv1.ListTrialsRequest)
	var limit uint64
	cmd.Flags().StringVar(&request.OrderBy, "order-by", "", "`field` to sort by (default index)")
	cmd.Flags().StringVar(&request.Filter, "filter", "", "`condition` that the trials must meet")
	cmd.Flags().BoolVar(&request.Losses, "losses", false, "include the losses of each epoch (default for json and "+
		"yaml)")
	cmd.Flags().Uint64Var(&limit, "limit", 0,
		fmt.Sprintf("maximum number of trials, 0 for all (default %d for table)", tableRows))
	cli.Complete(cmd, "order-by", append([]string{
		"index", "objective", "test_loss", "state", "epochs", "best_epoch",
	}, parameters...)...)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request.Study = args[0]
		if !cmd.Flags().Changed("losses") {
			request.Losses = *format == output.JSON || *format == output.YAML
		}
		if !cmd.Flags().Changed("limit") && *format == output.Table {
			limit = tableRows
		}
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			total, err := ListTrials(ctx, env, c, *format, request, limit)
			err = cli.NameListFlag(err)
			if err == nil && *format == output.Table && limit > 0 && total > limit {
				_, err = fmt.Fprintf(env.Err, "Showing %d of %s. To show all, use --limit "+
					"0\n", limit, output.Count(total, "trial"))
			}
			if err == nil && *format == output.Table {
				err = writeSampled(ctx, env, c, request.GetStudy())
			}
			return err
		})
	}
	return cmd
}

// writeSampled says which part of its grid a study has, if it has not all of it.
func writeSampled(ctx context.Context, env *cli.Environment, c *client.Client, study string) error {
	response, err := client.Call(ctx, client.CallTimeout, c.GetStudy, &trellisv1.GetStudyRequest{Study: study})
	if err != nil {
		return err
	}
	if sampled := describe.Sampled(response.GetStudy()); sampled != "" {
		_, err = fmt.Fprintf(env.Err, "The study has %s.\n", sampled)
	}
	return err
}
