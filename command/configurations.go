package command

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	trellisv1 "trellis/proto/trellis/v1"
)

func (cli *commandLine) configurationsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "configurations STUDY",
		Short: "Rank a study's configurations, by their mean over the seeds",
		Long: `Rank a study's configurations, by the mean of their validation losses over the seeds. A configuration is a point of
the grid without its seed.

MEAN has its confidence interval. DIFFERENCE is how much higher the loss is than that of the best configuration, seed by seed,
with an interval that is corrected for the number of comparisons. A CONTENDER can't be told apart from the best. Means of what the
model reports beside its losses stand behind, where it reports any.`,
		Example: `  trellis configurations paper --limit 5
  trellis configurations paper -o csv > configurations.csv`,
		Args: operands("STUDY"),
	}
	options, format := clientFlags(cmd, DefaultWait), outputFlag(cmd)
	cmd.ValidArgsFunction = completeStudies(options)
	request := new(trellisv1.ListConfigurationsRequest)
	confidenceFlag(cmd, &request.Confidence)
	var limit uint64
	cmd.Flags().Uint64Var(&limit, "limit", 0, fmt.Sprintf("configurations at most, 0 for all (default %d for table)", tableRows))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request.Study = args[0]
		if err := checkConfidence(cmd, request.GetConfidence()); err != nil {
			return err
		}
		if !cmd.Flags().Changed("limit") && *format == formatTable {
			limit = tableRows
		}
		return cli.withClient(cmd.Context(), options, func(ctx context.Context, c *client) error {
			columns := configurationColumns
			if *format == formatTable || *format == formatCSV {
				response, err := call(ctx, callTimeout, c.GetStudy, &trellisv1.GetStudyRequest{Study: request.GetStudy()})
				if err != nil {
					return err
				}
				columns = configurationColumnsWith(ownAxes(response.GetStudy().GetSpec()))
			}
			list := &configurationList{out: cli.stdout, format: *format, columns: columns}
			total, err := c.eachConfiguration(ctx, request, limit, list.Add)
			if err != nil {
				return err
			}
			if err := list.Close("The study has no configurations."); err != nil {
				return err
			}
			if *format == formatTable && limit > 0 && total > limit {
				_, err = fmt.Fprintf(cli.stderr, "%d of %s. All of them: --limit 0\n", limit, count(total, "configuration"))
			}
			return err
		})
	}
	return cmd
}

// configurationList writes configurations with a column for each metric that one of the first page has.
type configurationList struct {
	out     io.Writer
	format  outputFormat
	columns []column[configuration]

	held []configuration
	// list is nil until the columns are known.
	list *listWriter[configuration]
}

// Add writes one configuration, or holds it back.
func (l *configurationList) Add(c configuration) error {
	if l.list != nil {
		return l.list.Add(c)
	}
	if l.held = append(l.held, c); len(l.held) < pageSize {
		return nil
	}
	return l.release()
}

func (l *configurationList) release() error {
	if l.list != nil {
		return nil
	}
	l.list = newListWriter(l.out, l.format, "configurations", withMeanMetrics(l.columns, l.held))
	for _, c := range l.held {
		if err := l.list.Add(c); err != nil {
			return err
		}
	}
	l.held = nil
	return nil
}

// Close ends the document. A table of nothing is the sentence empty instead.
func (l *configurationList) Close(empty string) error {
	if err := l.release(); err != nil {
		return err
	}
	return l.list.Close(empty)
}

// withMeanMetrics returns the columns with those of the metrics that the configurations have, behind the others.
func withMeanMetrics(columns []column[configuration], configurations []configuration) []column[configuration] {
	columns = slices.Clone(columns)
	for _, its := range []struct {
		prefix string
		get    func(configuration) map[string]float64
	}{
		{"", (*trellisv1.Configuration).GetMetrics}, {"test_", (*trellisv1.Configuration).GetTestMetrics},
	} {
		known := map[string]bool{}
		for _, c := range configurations {
			for name := range its.get(c) {
				known[name] = true
			}
		}
		for _, name := range slices.Sorted(maps.Keys(known)) {
			write := func(number func(float64) string) func(configuration) string {
				return func(c configuration) string { return optional(metricIn(its.get(c), name), number) }
			}
			columns = append(columns, column[configuration]{its.prefix + name + "_mean", write(plainNumber), write(shortLoss)})
		}
	}
	return columns
}

// eachConfiguration calls do with every configuration that the request asks for, or with the first limit of them, and returns
// how many there are.
func (c *client) eachConfiguration(
	ctx context.Context, request *trellisv1.ListConfigurationsRequest, limit uint64, do func(*trellisv1.Configuration) error,
) (total uint64, err error) {
	left := limit
	if limit == 0 {
		left = math.MaxUint64
	}
	for {
		request.PageSize = uint32(min(left, pageSize))
		response, err := call(ctx, callTimeout, c.ListConfigurations, request)
		if err != nil {
			return 0, err
		}
		for _, configuration := range response.GetConfigurations() {
			if err := do(configuration); err != nil {
				return 0, err
			}
		}
		left -= min(left, uint64(len(response.GetConfigurations())))
		request.PageToken = response.GetNextPageToken()
		if request.PageToken == "" || left == 0 {
			return response.GetTotal(), nil
		}
	}
}

type configuration = *trellisv1.Configuration

var configurationColumns = []column[configuration]{
	both("rank", func(c configuration) string { return strconv.FormatUint(c.GetRank(), 10) }),
	whole("latent_dim", (*trellisv1.Parameters).GetLatentDim),
	fraction("learning_rate", (*trellisv1.Parameters).GetLearningRate),
	fraction("weight_decay", (*trellisv1.Parameters).GetWeightDecay),
	whole("max_epochs", (*trellisv1.Parameters).GetMaxEpochs),
	whole("batch_size", (*trellisv1.Parameters).GetBatchSize),
	{"seeds", seedsOf, func(c configuration) string { return strconv.Itoa(len(c.GetRepetitions())) }},
	{"objectives", objectivesOf, nil},
	{"mean", func(c configuration) string { return optional(c.Mean, plainNumber) }, meanWithInterval},
	{"deviation", func(c configuration) string { return optional(c.Deviation, plainNumber) }, nil},
	bounds("mean_low", configuration.GetInterval, (*trellisv1.Interval).GetLow),
	bounds("mean_high", configuration.GetInterval, (*trellisv1.Interval).GetHigh),
	{"difference", func(c configuration) string { return optional(c.Difference, plainNumber) }, differenceWithInterval},
	bounds("difference_low", configuration.GetDifferenceInterval, (*trellisv1.Interval).GetLow),
	bounds("difference_high", configuration.GetDifferenceInterval, (*trellisv1.Interval).GetHigh),
	{
		"contender", func(c configuration) string { return strconv.FormatBool(c.GetContender()) },
		func(c configuration) string {
			if c.GetContender() {
				return "yes"
			}
			return "no"
		},
	},
	{
		"test_mean", func(c configuration) string { return optional(c.TestMean, plainNumber) },
		func(c configuration) string { return optional(c.TestMean, shortLoss) },
	},
}

// configurationColumnsWith are configurationColumns with those of a model's own axes.
func configurationColumnsWith(own []string) []column[configuration] {
	return withOwnAxes(configurationColumns, own, (*trellisv1.Configuration).GetParameters)
}

func whole(name string, get func(*trellisv1.Parameters) uint32) column[configuration] {
	return both(name, func(c configuration) string { return strconv.FormatUint(uint64(get(c.GetParameters())), 10) })
}

func fraction(name string, get func(*trellisv1.Parameters) float64) column[configuration] {
	return column[configuration]{
		name,
		func(c configuration) string { return plainNumber(get(c.GetParameters())) },
		func(c configuration) string { return shortNumber(get(c.GetParameters())) },
	}
}

// bounds is one end of an interval, which people read beside what it is an interval of.
func bounds(
	name string, of func(configuration) *trellisv1.Interval, get func(*trellisv1.Interval) float64,
) column[configuration] {
	return column[configuration]{name: name, plain: func(c configuration) string {
		if of(c) == nil {
			return ""
		}
		return plainNumber(get(of(c)))
	}}
}

// seedsOf and objectivesOf are separated by spaces, in the same order.
func seedsOf(c configuration) string {
	seeds := make([]string, len(c.GetRepetitions()))
	for i, repetition := range c.GetRepetitions() {
		seeds[i] = strconv.FormatUint(uint64(repetition.GetSeed()), 10)
	}
	return strings.Join(seeds, " ")
}

func objectivesOf(c configuration) string {
	objectives := make([]float64, len(c.GetRepetitions()))
	for i, repetition := range c.GetRepetitions() {
		objectives[i] = repetition.GetObjective()
	}
	return numbers(objectives, plainNumber)
}

// meanWithInterval writes Student's interval, which is even on both sides of the mean.
func meanWithInterval(c configuration) string {
	text := optional(c.Mean, shortLoss)
	if c.GetInterval() == nil {
		return text
	}
	return text + " ± " + shortLoss((c.GetInterval().GetHigh()-c.GetInterval().GetLow())/2)
}

func differenceWithInterval(c configuration) string {
	text := optional(c.Difference, shortLoss)
	if c.GetDifferenceInterval() == nil {
		return text
	}
	return fmt.Sprintf("%s (%s to %s)", text, shortLoss(c.GetDifferenceInterval().GetLow()),
		shortLoss(c.GetDifferenceInterval().GetHigh()))
}
