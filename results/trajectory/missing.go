package trajectory

import (
	"cmp"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
)

// missingAt returns the position of an epoch among the missing weights, or where it would be.
func missingAt(missing []*trellisv1.MissingWeights, epoch uint32) (place int, found bool) {
	return slices.BinarySearchFunc(missing, epoch, func(m *trellisv1.MissingWeights, epoch uint32) int {
		return cmp.Compare(m.Epoch, epoch)
	})
}

// MissingWeights says whether a trial has best weights that should have been saved and could not be, and why.
func MissingWeights(trial *trellisv1.Trial, run *trellisv1.Run) (missing bool, reason string) {
	if trial.GetBestEpoch() == 0 || len(run.GetMissingWeights()) == 0 || bestCheckpoint(trial, run) != nil {
		return false, ""
	}
	place, missing := missingAt(run.MissingWeights, trial.GetEpochs())
	if !missing {
		return false, ""
	}
	return true, run.MissingWeights[place].GetReason()
}

// WithMissing returns a run's missing weights with another one added. It replaces one of the same epoch. As for
// checkpoints, those at milestones and the last are kept.
func WithMissing(run *trellisv1.Run, more *trellisv1.MissingWeights) []*trellisv1.MissingWeights {
	// What is kept is copied before it is changed: rows share it.
	kept := slices.Clone(run.MissingWeights)
	place, again := missingAt(kept, more.Epoch)
	if again {
		kept = slices.Delete(kept, place, place+1)
	}
	kept = slices.Insert(kept, place, more)
	last := kept[len(kept)-1]
	return slices.DeleteFunc(kept, func(m *trellisv1.MissingWeights) bool {
		_, milestone := slices.BinarySearch(run.Milestones, m.Epoch)
		return !milestone && m != last
	})
}

// WithoutSaved returns a run's missing weights without those of epochs that have a checkpoint.
func WithoutSaved(run *trellisv1.Run) []*trellisv1.MissingWeights {
	saved := func(m *trellisv1.MissingWeights) bool {
		_, found := CheckpointAt(run.Checkpoints, m.Epoch)
		return found
	}
	if !slices.ContainsFunc(run.MissingWeights, saved) {
		return run.MissingWeights
	}
	return slices.DeleteFunc(slices.Clone(run.MissingWeights), saved)
}

// shareMissing gives a run its twin's missing weights of the epochs that the run has.
func shareMissing(run, from *trellisv1.Run) {
	for _, m := range from.MissingWeights {
		_, saved := CheckpointAt(run.Checkpoints, m.Epoch)
		_, milestone := slices.BinarySearch(run.Milestones, m.Epoch)
		if m.Epoch <= run.Epochs && !saved && (milestone || m.Epoch == run.Epochs) {
			run.MissingWeights = WithMissing(run, m)
		}
	}
	run.MissingWeights = WithoutSaved(run)
}
