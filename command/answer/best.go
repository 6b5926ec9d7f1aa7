package answer

import (
	"fmt"
	"io"

	"trellis/command/describe"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// WriteBest writes the winner for people: as a configuration if it has been repeated, else as a trial.
func WriteBest(out io.Writer, best *trellisv1.GetBestTrialResponse) error {
	return writeBest(out, best, true)
}

// WriteLastBest is WriteBest for a study that ends with the command: nothing can be added to it.
func WriteLastBest(out io.Writer, best *trellisv1.GetBestTrialResponse) error {
	return writeBest(out, best, false)
}

// writeBest writes the winner. kept says that commands find the study later.
func writeBest(out io.Writer, best *trellisv1.GetBestTrialResponse, kept bool) error {
	if hasDiverged(best) {
		return writeDiverged(out, best.GetStudy())
	}
	if best.GetVerdict().GetSeeds() > 1 {
		return writeBestConfiguration(out, best, kept)
	}
	if err := writeBestTrial(out, best); err != nil {
		return err
	}
	var err error
	if advice := describeAdvice(best.GetStudy(), best.GetVerdict().GetAdvice(), kept); advice != "" {
		_, err = fmt.Fprintf(out, "\n%s\n", advice)
	}
	for _, text := range []string{describeSample(best.GetStudy(), kept), describeMissing(best.GetStudy(), kept)} {
		if text != "" && err == nil {
			_, err = fmt.Fprintf(out, "\n%s\n", text)
		}
	}
	return err
}

// describeSample says that the best is that of a sample of the grid, if it is. kept says that commands find the study
// later.
func describeSample(study *trellisv1.Study, kept bool) string {
	sampled := describe.Sampled(study)
	if sampled == "" {
		return ""
	}
	text := fmt.Sprintf("The study is a sample: %s. A better one may be among the others.", sampled)
	trials := study.GetSpec().GetBudget().GetTrials()
	if more := min(2*trials, grid.MaxTrials); kept && more > trials && !isCanceled(study) {
		text += fmt.Sprintf(" Train more: trellis extend %s --budget trials=%d", study.GetName(), more)
	}
	return text
}

// whyUntested says why a trial that succeeded may have no test loss, and how to find it: see Trial.test_loss.
const whyUntested = "its epochs were trained for longer trials. To measure it, submit it as a study of its own with " +
	"--fresh"

func writeBestTrial(out io.Writer, best *trellisv1.GetBestTrialResponse) error {
	t, ranked := best.GetTrial(), describe.ObjectiveOf(best.GetStudy().GetSpec())
	table := output.NewTable()
	row := func(name, format string, values ...any) {
		table.AppendRow([]any{name, fmt.Sprintf(format, values...)})
	}
	row("study", "%s, %s: %s", t.GetStudy(), describe.StudyState(best.GetStudy()), describe.Progress(best.GetStudy()))
	row("best trial", "%d", t.GetIndex())
	parameterRows(row, t.GetParameters())
	row("seed", "%d", t.GetParameters().GetSeed())
	row(ranked.Name(), "%s%s, at epoch %d of %d trained", output.ShortLoss(t.GetObjective()), ranked.Note(),
		t.GetBestEpoch(), t.GetEpochs())
	metricRows(row, ranked, "validation ", ranked.Others(t.GetMetrics()))
	switch {
	case ranked.OfProgram():
	case t.TestLoss != nil:
		row("test loss", "%s", output.ShortLoss(t.GetTestLoss()))
	case t.GetBestEpoch() > 0:
		row("test loss", "not known: %s", whyUntested)
	}
	metricRows(row, ranked, "test ", t.GetTestMetrics())
	if second := best.GetRunnerUp(); second != nil {
		row("runner-up", "%s", lead(ranked, t.GetObjective(), second,
			describe.Axes{OneShape: describe.VariedAxes(best.GetStudy().GetSpec()).OneShape}))
	}
	_, err := fmt.Fprintln(out, table.Render())
	return err
}

// parameterRows writes a configuration, one parameter to a row.
func parameterRows(row func(name, format string, values ...any), p *trellisv1.Parameters) {
	for _, name := range grid.NamesOf(p) {
		row(describe.Label(name), "%s", describe.Value(grid.Value(p, name), output.PlainNumber))
	}
}

// lead says by how much an objective beats the runner-up's.
func lead(ranked describe.Objective, own float64, second *trellisv1.Trial, varied describe.Axes) string {
	next := second.GetObjective()
	who := fmt.Sprintf("trial %d (%s)", second.GetIndex(), describe.Point(second.GetParameters(), varied))
	what := "loss"
	if !ranked.IsDefault() {
		what = ranked.Name()
	}
	switch gap := ranked.Loss(next) - ranked.Loss(own); {
	case gap == 0:
		why := "it is larger or longer"
		if ranked.OfProgram() {
			why = "it is longer or stands later in the grid"
		}
		return fmt.Sprintf("%s: same %s, ranked lower because %s", who, what, why)
	case gap > 0 && own > 0:
		return fmt.Sprintf("%s: %s by %s (%.2f%%)", who, ranked.Worse(), output.ShortLoss(gap), 100*gap/own)
	default:
		// Negative values, or those of an older coordinator that are no finite numbers.
		return fmt.Sprintf("%s: %s %s", who, what, output.ShortLoss(next))
	}
}
