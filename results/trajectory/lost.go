package trajectory

import (
	"fmt"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// lastLost returns the failure at which a run's last worker was lost, or nil if none was.
func lastLost(run *trellisv1.Run) *trellisv1.Failure {
	for _, failure := range slices.Backward(run.GetFailures()) {
		if failure.Class == lostClass {
			return failure
		}
	}
	return nil
}

// LostWorkers returns how many workers a run has lost without a new epoch since, and the last of these failures. A run
// that has ended has lost none, unless that is what failed it.
func LostWorkers(run *trellisv1.Run) (lost int, last *trellisv1.Failure) {
	last = lastLost(run)
	if last == nil || run.Epochs > last.RunEpochs {
		return 0, nil
	}
	failed := run.State == lifecycle.RunFailed && last == run.Failures[len(run.Failures)-1]
	if lifecycle.RunEnded(run.State) && !failed {
		return 0, nil
	}
	for _, failure := range run.Failures {
		if failure.Class == lostClass && counts(failure, last.RunEpochs) {
			lost++
		}
	}
	return lost, last
}

// unsaved says why the weights of a trial with a result are not saved yet: its run goes on, and comes to the trial's
// last epoch again.
func unsaved(trial *trellisv1.Trial, run *trellisv1.Run) error {
	index := trial.GetIndex()
	if lost := lastLost(run); lost != nil && lost.Epochs >= trial.GetEpochs() {
		return fmt.Errorf("the weights of trial %d are not saved yet: worker %s was lost before it had saved them, "+
			"and another one trains the epochs since the last checkpoint again: try again when the run has ended",
			index, lost.Worker)
	}
	return fmt.Errorf("the weights of trial %d are not saved yet: its run has not ended: try again later", index)
}
