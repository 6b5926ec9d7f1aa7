package trajectory

import (
	"math"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// Presented is a trial as it is shown: DIVERGED if it has its result and its objective is not a finite number. Such a
// trial is stored as SUCCEEDED, so that neither digests nor what earlier versions wrote have to know the difference.
func Presented(trial *trellisv1.Trial) *trellisv1.Trial {
	if trial.GetState() != lifecycle.TrialSucceeded || !Diverged(trial) {
		return trial
	}
	trial = CopyTrial(trial)
	trial.State = lifecycle.TrialDiverged
	return trial
}

// Diverged says of a trial that has its result whether its objective is no finite number.
func Diverged(trial *trellisv1.Trial) bool {
	return trial.Objective == nil || math.IsNaN(*trial.Objective) || math.IsInf(*trial.Objective, 0)
}
