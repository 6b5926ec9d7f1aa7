package command

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	trellisv1 "trellis/proto/trellis/v1"
)

// lossesPageSize is pageSize for trials with their losses, of which there may be 20,000 each.
const lossesPageSize = 100

// tableRows is how many trials a table shows unless --limit says otherwise.
const tableRows = 50

func (cli *commandLine) trialsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trials STUDY",
		Short: "List a study's trials, with their results",
		Long: `List a study's trials, with their results.

--order-by takes index, objective, test_loss, state, epochs, best_epoch or a parameter: latent_dim, learning_rate,
weight_decay, max_epochs, seed, batch_size, or an axis that only the study's model has; or what the model reports beside its
losses, such as accuracy or test_accuracy. A hyphen before it turns the order round. --filter takes a condition in CEL over the
same fields.`,
		Example: `  trellis trials mnist --order-by objective --limit 5
  trellis trials mnist --filter 'latent_dim == 16 && objective < 0.02'
  trellis trials digits --order-by -accuracy --filter 'accuracy > 0.9'
  trellis trials mnist -o csv > trials.csv`,
		Args: operands("STUDY"),
	}
	options, format := clientFlags(cmd, DefaultWait), outputFlag(cmd)
	cmd.ValidArgsFunction = completeStudies(options)
	request := new(trellisv1.ListTrialsRequest)
	var limit uint64
	cmd.Flags().StringVar(&request.OrderBy, "order-by", "", "`field` to sort by (default index)")
	cmd.Flags().StringVar(&request.Filter, "filter", "", "`condition` that trials must meet")
	cmd.Flags().BoolVar(&request.Losses, "losses", false, "include the losses by epoch (default for json and yaml)")
	cmd.Flags().Uint64Var(&limit, "limit", 0, fmt.Sprintf("trials at most, 0 for all (default %d for table)", tableRows))
	completeWith(cmd, "order-by", "index", "objective", "test_loss", "state", "epochs", "best_epoch", "latent_dim",
		"learning_rate", "weight_decay", "max_epochs", "seed", "batch_size")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request.Study = args[0]
		if !cmd.Flags().Changed("losses") {
			request.Losses = *format == formatJSON || *format == formatYAML
		}
		if !cmd.Flags().Changed("limit") && *format == formatTable {
			limit = tableRows
		}
		return cli.withClient(cmd.Context(), options, func(ctx context.Context, c *client) error {
			total, err := cli.listTrials(ctx, c, *format, request, limit)
			if err == nil && *format == formatTable && limit > 0 && total > limit {
				_, err = fmt.Fprintf(cli.stderr, "%d of %s. All of them: --limit 0\n", limit, count(total, "trial"))
			}
			return err
		})
	}
	return cmd
}

// listTrials writes the trials that the request asks for, at most limit of them if it is not 0. It returns how many
// there are.
func (cli *commandLine) listTrials(
	ctx context.Context, c *client, format outputFormat, request *trellisv1.ListTrialsRequest, limit uint64,
) (total uint64, err error) {
	columns := trialColumns
	if format == formatTable || format == formatCSV {
		response, err := call(ctx, callTimeout, c.GetStudy, &trellisv1.GetStudyRequest{Study: request.GetStudy()})
		if err != nil {
			return 0, err
		}
		columns = trialColumnsWith(ownAxes(response.GetStudy().GetSpec()))
	}
	if request.GetLosses() {
		columns = append(columns[:len(columns):len(columns)], lossColumns...)
	}
	list := newTrialList(cli.stdout, format, columns)
	total, err = c.eachTrial(ctx, request, limit, list)
	if err != nil {
		return 0, err
	}
	return total, list.Close("No trial meets the condition.")
}

// eachTrial adds every trial that the request asks for to a list, or the first limit of them, and returns how many there are.
func (c *client) eachTrial(
	ctx context.Context, request *trellisv1.ListTrialsRequest, limit uint64, list *trialList,
) (total uint64, err error) {
	request.PageSize = pageSize
	if request.GetLosses() {
		request.PageSize = lossesPageSize
	}
	left := limit
	if limit == 0 {
		left = math.MaxUint64
	}
	for {
		request.PageSize = uint32(min(left, uint64(request.PageSize)))
		response, err := call(ctx, callTimeout, c.ListTrials, request)
		if err != nil {
			return 0, err
		}
		for _, trial := range response.GetTrials() {
			if err := list.Add(trial); err != nil {
				return 0, err
			}
		}
		left -= min(left, uint64(len(response.GetTrials())))
		request.PageToken = response.GetNextPageToken()
		if request.PageToken == "" || left == 0 {
			return response.GetTotal(), nil
		}
		if err := list.releaseAfter(ctx, c, request.GetStudy()); err != nil {
			return 0, err
		}
	}
}

type trial = *trellisv1.Trial

var trialColumns = []column[trial]{
	{"study", (*trellisv1.Trial).GetStudy, nil},
	both("index", integer((*trellisv1.Trial).GetIndex)),
	both("state", trialState),
	both("latent_dim", parameter((*trellisv1.Parameters).GetLatentDim)),
	rate("learning_rate", (*trellisv1.Parameters).GetLearningRate),
	rate("weight_decay", (*trellisv1.Parameters).GetWeightDecay),
	both("max_epochs", parameter((*trellisv1.Parameters).GetMaxEpochs)),
	both("batch_size", parameter((*trellisv1.Parameters).GetBatchSize)),
	both("seed", parameter((*trellisv1.Parameters).GetSeed)),
	loss("objective", func(t trial) *float64 { return t.Objective }),
	both("best_epoch", integer((*trellisv1.Trial).GetBestEpoch)),
	both("epochs", integer((*trellisv1.Trial).GetEpochs)),
	loss("test_loss", func(t trial) *float64 { return t.TestLoss }),
	{"run", (*trellisv1.Trial).GetRun, nil},
	{"error", (*trellisv1.Trial).GetError, func(t trial) string { return oneLine(t.GetError()) }},
}

// trialColumnsWith are trialColumns with those of a model's own axes.
func trialColumnsWith(own []string) []column[trial] {
	return withOwnAxes(trialColumns, own, (*trellisv1.Trial).GetParameters)
}

// lossColumns hold one loss per epoch, separated by spaces.
var lossColumns = []column[trial]{
	losses("train_loss", (*trellisv1.Trial).GetTrainLoss),
	losses("validation_loss", (*trellisv1.Trial).GetValidationLoss),
}

// oneLine fits a text into a cell of a table.
func oneLine(text string) string { return shorten(strings.Join(strings.Fields(text), " "), 60) }

func trialState(t trial) string { return plainState(t.GetState().String(), "TRIAL_STATE_") }

func integer[T uint32 | uint64](get func(trial) T) func(trial) string {
	return func(t trial) string { return strconv.FormatUint(uint64(get(t)), 10) }
}

func parameter(get func(*trellisv1.Parameters) uint32) func(trial) string {
	return func(t trial) string { return strconv.FormatUint(uint64(get(t.GetParameters())), 10) }
}

func rate(name string, get func(*trellisv1.Parameters) float64) column[trial] {
	return column[trial]{
		name,
		func(t trial) string { return plainNumber(get(t.GetParameters())) },
		func(t trial) string { return shortNumber(get(t.GetParameters())) },
	}
}

func loss(name string, get func(trial) *float64) column[trial] {
	return column[trial]{
		name,
		func(t trial) string { return optional(get(t), plainNumber) },
		func(t trial) string { return optional(get(t), shortLoss) },
	}
}

func losses(name string, get func(trial) []float64) column[trial] {
	return column[trial]{
		name,
		func(t trial) string { return numbers(get(t), plainNumber) },
		func(t trial) string { return numbers(get(t), shortLoss) },
	}
}

func optional(value *float64, write func(float64) string) string {
	if value == nil {
		return ""
	}
	return write(*value)
}

func numbers(values []float64, write func(float64) string) string {
	texts := make([]string, len(values))
	for i, value := range values {
		texts[i] = write(value)
	}
	return strings.Join(texts, " ")
}

// describeParameters writes a point of a grid in one line. Seed and batch size are named only where trials differ in
// them, which varied says.
func describeParameters(p *trellisv1.Parameters, varied axes) string {
	text := fmt.Sprintf("latent %d, learning rate %s, weight decay %s", p.GetLatentDim(), shortNumber(p.GetLearningRate()),
		shortNumber(p.GetWeightDecay()))
	for _, name := range slices.Sorted(maps.Keys(p.GetValues())) {
		text += fmt.Sprintf(", %s %s", strings.ReplaceAll(name, "_", " "), shortNumber(p.GetValues()[name]))
	}
	if varied.batchSize {
		text += fmt.Sprintf(", batch %d", p.GetBatchSize())
	}
	if varied.seed {
		text += fmt.Sprintf(", seed %d", p.GetSeed())
	}
	return text
}

// axes says which of the axes that most studies leave alone a study varies.
type axes struct{ batchSize, seed bool }

// variedAxes looks at a spec with its defaults filled in. To settle is to add seeds.
func variedAxes(spec *trellisv1.StudySpec) axes {
	return axes{batchSize: several(spec.GetBatchSize()), seed: several(spec.GetSeeds()) || spec.GetSettle() != nil}
}

func several(axis *trellisv1.IntegerAxis) bool { return axis != nil && len(axis.GetValues()) != 1 }
