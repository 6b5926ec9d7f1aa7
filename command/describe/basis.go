package describe

import (
	"fmt"
	"math"
	"strings"

	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// Basis says what the forecast of a study with this spec is based on, and what it leaves out.
func Basis(spec *trellisv1.StudySpec, f *trellisv1.Forecast) string {
	basis := f.GetBasis()
	parts := []string{paceBasis(spec, basis)}
	if basis.GetOwnCores() && basis.GetUnsuited() {
		parts = append(parts, "no worker has what a run needs, so the slots are cores of this machine")
	} else if basis.GetOwnCores() {
		parts = append(parts, "there are no workers yet, so the slots are cores of this machine")
	}
	if share := basis.GetScaledShare(); share > 0 {
		parts = append(parts, fmt.Sprintf("%s of the time is of shapes that were not measured, scaled by their operations",
			output.Percent(math.Ceil(100*share)/100)))
	}
	// A forecast of no confidence is a bound.
	bound := f.GetConfidence() == 0
	if stops := stopBasis(spec, basis); stops != "" && !bound {
		parts = append(parts, stops)
	}
	switch {
	case spec.GetPruning() != nil && bound:
		parts = append(parts, "pruning may end runs earlier")
	case spec.GetPruning() != nil:
		parts = append(parts, "at most, because pruning may end runs earlier; the lower bounds allow for that")
	}
	if spec.GetSettle() != nil {
		parts = append(parts, "not counting seeds that settle may add")
	}
	if basis.GetAfterOthers() {
		parts = append(parts, "older studies in the queue come first")
	}
	return strings.Join(parts, "; ")
}

// paceBasis says how it is known how long an epoch takes.
func paceBasis(spec *trellisv1.StudySpec, basis *trellisv1.ForecastBasis) string {
	own, others := basis.GetEpochs(), basis.GetOtherEpochs()
	same := " with the same model and data"
	if spec.GetProgram() != nil {
		same = " with the same program"
	}
	studies := output.Count(uint64(basis.GetOtherStudies()), "other study") + same
	switch probe := basis.GetProbe(); {
	case probe != nil:
		trainings := "one training at a time"
		if n := probe.GetTrainings(); n > 1 {
			trainings = output.Count(uint64(n), "training") + " in parallel"
		}
		assumed := ""
		if probe.GetInputAssumed() {
			assumed = fmt.Sprintf("; assuming gray images of 28 x 28 pixels, because the data set %q is not on this machine",
				spec.GetData())
		}
		return fmt.Sprintf(
			"measured on this machine: %s for %s, latent dimension %d, batch size %d; an epoch has %d training and "+
				"%d validation images%s",
			trainings, output.ShortSeconds(probe.GetSeconds()), probe.GetLatentDim(), probe.GetBatchSize(),
			probe.GetTrainImages(), probe.GetValidationImages(), assumed)
	case own > 0 && others > 0:
		return fmt.Sprintf("%s of this study and %d of %s",
			output.Count(own, "measured epoch"), others, studies)
	case own > 0:
		return output.Count(own, "measured epoch") + " of this study"
	case others > 0:
		return fmt.Sprintf("%s of %s", output.Count(others, "measured epoch"), studies)
	case basis.GetEpochTime():
		return "the spec's epoch_time"
	default:
		return "nothing yet: the time of an epoch is unknown"
	}
}

// stopBasis says where the chance of stopping early comes from.
func stopBasis(spec *trellisv1.StudySpec, basis *trellisv1.ForecastBasis) string {
	ended, seen := output.Count(basis.GetRunsEnded(), "ended run"), "losses"
	if spec.GetProgram() != nil {
		seen = "reports"
	}
	switch {
	case spec.GetEarlyStopping() == nil && basis.GetRunsDiverged() == 0:
		return ""
	case spec.GetEarlyStopping() == nil:
		return fmt.Sprintf("%d of %s diverged", basis.GetRunsDiverged(), ended)
	case basis.GetRunsEnded() > 0 && basis.GetRunsDiverged() > 0:
		return fmt.Sprintf("%d of %s stopped early, %d diverged", basis.GetRunsStopped(), ended,
			basis.GetRunsDiverged())
	case basis.GetRunsEnded() > 0:
		return fmt.Sprintf("%d of %s stopped early", basis.GetRunsStopped(), ended)
	case basis.GetRunsBegun() > 0:
		return "no run has ended yet, so early stopping is estimated from the " + seen + " so far"
	case basis.GetOtherRuns() > 0:
		return fmt.Sprintf("early stopping is estimated from %s of other studies",
			output.Count(basis.GetOtherRuns(), "run"))
	default:
		return "early stopping is a guess, because there are no " + seen + " yet"
	}
}
