package command

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

func (cli *commandLine) extendCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "extend STUDY",
		Short: "Add values to the axes of a study's grid: more epochs, more seeds",
		Long: `Add values to the axes of a study's grid, whether it is running or has been completed. What it has stays. Only what is
missing is trained: more epochs go on from where the runs were. The results are those of a study that had the values from the
start, bit for bit.`,
		Example: `  trellis extend paper --max-epochs 200
  trellis extend paper --seeds 2,3,4,5 --watch
  trellis extend paper --latent-dim 64,128 --learning-rate 3e-3
  trellis extend denoising --axis noise=0.2,0.4`,
		Args: operands("STUDY"),
	}
	options, format := clientFlags(cmd, DefaultWait), outputFlag(cmd)
	cmd.ValidArgsFunction = completeStudies(options)
	request := new(trellisv1.ExtendStudyRequest)
	cmd.Flags().Var(integersFlag{&request.LatentDim}, "latent-dim", "latent dimensions to add")
	cmd.Flags().Var(numbersFlag{&request.LearningRate}, "learning-rate", "learning rates to add")
	cmd.Flags().Var(numbersFlag{&request.WeightDecay}, "weight-decay", "weight decays to add")
	cmd.Flags().Var(integersFlag{&request.MaxEpochs}, "max-epochs", "maximum epochs to add")
	cmd.Flags().Var(integersFlag{&request.Seeds}, "seeds", "seeds to add")
	cmd.Flags().Var(integersFlag{&request.BatchSize}, "batch-size", "batch sizes to add")
	cmd.Flags().Var(axesFlag{&request.Axes}, "axis",
		"`name=values` to add to an axis that only the study's model has; may be given several times")
	watch := cmd.Flags().Bool("watch", false, "follow the study until it has ended")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if proto.Equal(request, new(trellisv1.ExtendStudyRequest)) {
			return usageErrorf("extend needs values to add, for example --max-epochs 200 or --seeds 2,3")
		}
		request.Study = args[0]
		return cli.withClient(cmd.Context(), options, func(ctx context.Context, c *client) error {
			response, err := call(ctx, createTimeout, c.ExtendStudy, request)
			if err != nil {
				return err
			}
			what := count(response.GetTrials(), "trial") + " added"
			return cli.writeTakenUp(ctx, c, *format, response.GetStudy(), what, *watch)
		})
	}
	return cmd
}

func (cli *commandLine) retryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retry STUDY",
		Short: "Take up again what has failed in a study, or what a heuristic has pruned",
		Long: `Take up again what has failed in a study, each run from its last checkpoint. With --pruned, what a heuristic has
pruned too: it is trained to its end then, and the answer is that of the whole grid.`,
		Example: `  trellis retry paper
  trellis retry paper --pruned --watch`,
		Args: operands("STUDY"),
	}
	options, format := clientFlags(cmd, DefaultWait), outputFlag(cmd)
	cmd.ValidArgsFunction = completeStudies(options)
	request := new(trellisv1.RetryStudyRequest)
	cmd.Flags().BoolVar(&request.Pruned, "pruned", false, "take up what was pruned too; it is not pruned again")
	watch := cmd.Flags().Bool("watch", false, "follow the study until it has ended")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request.Study = args[0]
		return cli.withClient(cmd.Context(), options, func(ctx context.Context, c *client) error {
			response, err := call(ctx, createTimeout, c.RetryStudy, request)
			if err != nil {
				return err
			}
			what := count(response.GetRuns(), "run") + " taken up again"
			return cli.writeTakenUp(ctx, c, *format, response.GetStudy(), what, *watch)
		})
	}
	return cmd
}

// writeTakenUp says what has become of a study that has more to do now, and follows it if it is to be watched.
func (cli *commandLine) writeTakenUp(
	ctx context.Context, c *client, format outputFormat, study *trellisv1.Study, what string, watch bool,
) error {
	var err error
	if format == formatTable {
		_, err = fmt.Fprintf(cli.stdout, "Study %s is %s, with %s: %s.\n", study.GetName(), studyState(study), what,
			describeProgress(study))
	} else {
		err = writeOne(cli.stdout, format, study, studyColumns)
	}
	if err == nil && watch {
		return cli.watchStudy(ctx, c, study.GetName(), cli.stderr)
	}
	return err
}

// integersFlag adds values to an axis: whole numbers with commas between them.
type integersFlag struct{ axis **trellisv1.IntegerAxis }

func (f integersFlag) String() string { return "" }
func (f integersFlag) Type() string   { return "values" }

func (f integersFlag) Set(text string) error {
	if *f.axis == nil {
		*f.axis = new(trellisv1.IntegerAxis)
	}
	for item := range strings.SplitSeq(text, ",") {
		value, err := strconv.ParseUint(strings.TrimSpace(item), 10, 32)
		if err != nil {
			return fmt.Errorf("%q is not a whole number: give whole numbers with commas between them, such as 64,128", item)
		}
		(*f.axis).Values = append((*f.axis).Values, uint32(value))
	}
	return nil
}

// numbersFlag adds values to an axis: numbers with commas between them.
type numbersFlag struct{ axis **trellisv1.NumberAxis }

func (f numbersFlag) String() string { return "" }
func (f numbersFlag) Type() string   { return "values" }

func (f numbersFlag) Set(text string) error {
	if *f.axis == nil {
		*f.axis = new(trellisv1.NumberAxis)
	}
	return addNumbers(*f.axis, text)
}

// axesFlag adds values to a model's own axes: an axis's name, an equals sign, and numbers with commas between them.
type axesFlag struct {
	axes *map[string]*trellisv1.NumberAxis
}

func (f axesFlag) String() string { return "" }
func (f axesFlag) Type() string   { return "name=values" }

func (f axesFlag) Set(text string) error {
	name, values, ok := strings.Cut(text, "=")
	if name = strings.TrimSpace(name); !ok || name == "" {
		return fmt.Errorf("%q names no axis: give its name and the values to add to it, such as noise=0.2,0.4", text)
	}
	if *f.axes == nil {
		*f.axes = make(map[string]*trellisv1.NumberAxis)
	}
	if (*f.axes)[name] == nil {
		(*f.axes)[name] = new(trellisv1.NumberAxis)
	}
	return addNumbers((*f.axes)[name], values)
}

// addNumbers adds numbers with commas between them to an axis.
func addNumbers(axis *trellisv1.NumberAxis, text string) error {
	for item := range strings.SplitSeq(text, ",") {
		value, err := strconv.ParseFloat(strings.TrimSpace(item), 64)
		if err != nil || math.IsNaN(value) || math.IsInf(value, 0) {
			return fmt.Errorf("%q is not a number: give numbers with commas between them, such as 1e-3,3e-3", item)
		}
		axis.Values = append(axis.Values, value)
	}
	return nil
}
