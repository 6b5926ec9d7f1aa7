package answer

import (
	"fmt"
	"io"
	"math"
	"strings"

	"google.golang.org/grpc/status"

	"trellis/command/describe"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

func isFinite(value float64) bool { return !math.IsNaN(value) && !math.IsInf(value, 0) }

// hasDiverged says whether a study has results but no best: each configuration has diverged.
func hasDiverged(best *trellisv1.GetBestTrialResponse) bool {
	return best.GetTrial().GetState() == trellisv1.TrialState_TRIAL_STATE_DIVERGED ||
		best.GetVerdict() != nil && best.GetVerdict().GetBest() == nil
}

// errDiverged is why a study that has results has no best.
func errDiverged(study *trellisv1.Study) error {
	why := "each configuration has diverged with at least one seed"
	if progress := study.GetProgress(); progress.GetTrialsSucceeded() == 0 {
		why = allOf(progress.GetTrialsDiverged()) + " diverged"
	}
	if study.GetSpec().GetProgram() == nil {
		why += ", so try lower learning rates"
	}
	return fmt.Errorf("study %q has no best trial: %s", study.GetName(), why)
}

// writeDiverged writes, in place of the best, that all trials with results have diverged.
func writeDiverged(out io.Writer, study *trellisv1.Study) error {
	table := output.NewTable()
	table.AppendRow([]any{"study", fmt.Sprintf("%s, %s: %s", study.GetName(), describe.StudyState(study),
		describe.Progress(study))})
	table.AppendRow([]any{"best trial", "none"})
	_, err := fmt.Fprintf(out, "%s\n\n%s\n", table.Render(), describeDiverged(study))
	return err
}

// describeDiverged says that there is no best configuration, because each has diverged, with one seed at least.
func describeDiverged(study *trellisv1.Study) string {
	progress := study.GetProgress()
	text := "There is no best configuration: each has diverged with at least one seed."
	if progress.GetTrialsSucceeded() == 0 {
		text = fmt.Sprintf("There is no best trial: %s diverged, which means that no %s was a finite number.",
			allOf(progress.GetTrialsDiverged()), describe.ObjectiveOf(study.GetSpec()).Name())
		if study.GetSpec().GetProgram() == nil {
			text += " Try lower learning rates."
		}
	}
	if !lifecycle.StudyEnded(study.GetState()) {
		text += " " + describeMissing(study, true)
	}
	return text
}

// allOf counts trials that are all there are with results.
func allOf(trials uint64) string {
	if trials == 1 {
		return "the only trial with a result has"
	}
	return fmt.Sprintf("all %d trials with results have", trials)
}

// WhyNone says of a study that has ended why it has no best trial, from the error that says so, in a sentence.
func WhyNone(err error, study string) string {
	_, why, _ := strings.Cut(status.Convert(err).Message(), " has no best trial: ")
	if why = strings.TrimSuffix(why, " yet"); !strings.HasSuffix(why, "?") {
		why += "."
	}
	return fmt.Sprintf("Study %s has no results: %s", study, why)
}
