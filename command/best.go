package command

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

func (cli *commandLine) bestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "best STUDY",
		Short: "Show a study's best configuration so far, and how sure that is",
		Long: `Show a study's best configuration so far, and how sure that is.

With several seeds, configurations are ranked by their mean validation loss. Those that can't be told apart from the best at
the confidence are listed, with what would settle it: the truly best configuration is among them with at least that chance,
if differences between seeds are about normal, and may be with less where they are skewed. The test loss had no part in the
choice.

With one seed, chance and difference can't be told apart: the best is the trial with the lowest validation loss.`,
		Example: `  trellis best paper
  trellis best paper --confidence 0.99 -o json`,
		Args: operands("STUDY"),
	}
	options, format := clientFlags(cmd, DefaultWait), outputFlag(cmd)
	cmd.ValidArgsFunction = completeStudies(options)
	request := new(trellisv1.GetBestTrialRequest)
	confidenceFlag(cmd, &request.Confidence)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request.Study = args[0]
		if err := checkConfidence(cmd, request.GetConfidence()); err != nil {
			return err
		}
		return cli.withClient(cmd.Context(), options, func(ctx context.Context, c *client) error {
			best, err := call(ctx, callTimeout, c.GetBestTrial, request)
			if err != nil {
				return err
			}
			switch *format {
			case formatTable:
				return writeBest(cli.stdout, best)
			case formatCSV:
				own := trialColumnsWith(ownAxes(best.GetStudy().GetSpec()))
				return writeOne(cli.stdout, *format, best.GetTrial(), withMetrics(own, metricsOf(best.GetTrial())))
			default:
				return writeMessage(cli.stdout, *format, best)
			}
		})
	}
	return cmd
}

// confidenceFlag adds --confidence.
func confidenceFlag(cmd *cobra.Command, confidence *float64) {
	cmd.Flags().Float64Var(confidence, "confidence", 0,
		"how sure the answer is to be, from 0.5 to 0.9999 (default that of the spec's settle, else 0.95)")
}

// checkConfidence refuses a confidence that cannot be asked for.
func checkConfidence(cmd *cobra.Command, confidence float64) error {
	if cmd.Flags().Changed("confidence") && !(0.5 <= confidence && confidence <= 0.9999) {
		return usageErrorf("--confidence takes a number from 0.5 to 0.9999, for example 0.95, not %v", confidence)
	}
	return nil
}

// writeBest writes the winner for people: as a configuration if it has been repeated, else as a trial.
func writeBest(out io.Writer, best *trellisv1.GetBestTrialResponse) error {
	if best.GetVerdict().GetSeeds() > 1 {
		return writeBestConfiguration(out, best)
	}
	if err := writeBestTrial(out, best); err != nil {
		return err
	}
	var err error
	if advice := best.GetVerdict().GetAdvice(); advice != "" {
		_, err = fmt.Fprintf(out, "\n%s.\n", sentence(advice))
	}
	if missing := describeMissing(best.GetStudy()); missing != "" && err == nil {
		_, err = fmt.Fprintf(out, "\n%s\n", missing)
	}
	return err
}

// whyUntested says why an answered trial may have no test loss, and how to find it: see Trial.test_loss.
const whyUntested = "its epochs were trained for longer trials. A study of it alone, with --fresh, finds it"

func writeBestTrial(out io.Writer, best *trellisv1.GetBestTrialResponse) error {
	t := best.GetTrial()
	table := newTable()
	row := func(name, format string, values ...any) {
		table.AppendRow([]any{name, fmt.Sprintf(format, values...)})
	}
	row("study", "%s, %s: %s", t.GetStudy(), studyState(best.GetStudy()), describeProgress(best.GetStudy()))
	row("best trial", "%d", t.GetIndex())
	parameterRows(row, t.GetParameters())
	row("seed", "%d", t.GetParameters().GetSeed())
	row("validation loss", "%s, at epoch %d of %d trained", shortLoss(t.GetObjective()), t.GetBestEpoch(), t.GetEpochs())
	metricRows(row, "validation ", t.GetMetrics())
	switch {
	case t.TestLoss != nil:
		row("test loss", "%s", shortLoss(t.GetTestLoss()))
	case t.GetBestEpoch() > 0:
		row("test loss", "not known: %s", whyUntested)
	}
	metricRows(row, "test ", t.GetTestMetrics())
	if second := best.GetRunnerUp(); second != nil {
		row("ahead of the next", "%s", lead(t.GetObjective(), second))
	}
	_, err := fmt.Fprintln(out, table.Render())
	return err
}

// parameterRows writes a configuration, one parameter to a row.
func parameterRows(row func(name, format string, values ...any), p *trellisv1.Parameters) {
	row("latent dimension", "%d", p.GetLatentDim())
	row("learning rate", "%s", plainNumber(p.GetLearningRate()))
	row("weight decay", "%s", plainNumber(p.GetWeightDecay()))
	for _, name := range slices.Sorted(maps.Keys(p.GetValues())) {
		row(strings.ReplaceAll(name, "_", " "), "%s", plainNumber(p.GetValues()[name]))
	}
	row("maximum epochs", "%d", p.GetMaxEpochs())
	row("batch size", "%d", p.GetBatchSize())
}

// lead says by how much a loss beats the runner-up's.
func lead(loss float64, second *trellisv1.Trial) string {
	next := second.GetObjective()
	who := fmt.Sprintf("trial %d (%s, maximum epochs %d)", second.GetIndex(),
		describeParameters(second.GetParameters(), axes{}), second.GetParameters().GetMaxEpochs())
	switch gap := next - loss; {
	case gap == 0:
		return "by nothing: the same loss as " + who + ", which ranks lower for its size or length"
	case gap > 0 && loss > 0:
		return fmt.Sprintf("by %s (%.2f%%): %s", shortLoss(gap), 100*gap/loss, who)
	default:
		// One of the two is no finite number.
		return fmt.Sprintf("%s has %s", who, shortLoss(next))
	}
}

// isUnanswered says whether err means that a study has no best trial, because none has been answered yet.
func isUnanswered(err error) bool { return status.Code(err) == codes.FailedPrecondition }
