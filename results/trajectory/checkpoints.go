package trajectory

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// CheckpointAt returns the position of an epoch's checkpoint, or where it would be.
func CheckpointAt(checkpoints []*trellisv1.Checkpoint, epoch uint32) (place int, found bool) {
	return slices.BinarySearchFunc(checkpoints, epoch, func(kept *trellisv1.Checkpoint, epoch uint32) int {
		return cmp.Compare(kept.Epoch, epoch)
	})
}

// WithCheckpoint returns a run's checkpoints with another one added. It replaces one of the same epoch.
func WithCheckpoint(run *trellisv1.Run, checkpoint *trellisv1.Checkpoint) []*trellisv1.Checkpoint {
	// Copy the slice before changing it: rows share it.
	kept := slices.Clone(run.Checkpoints)
	place, again := CheckpointAt(kept, checkpoint.Epoch)
	if again {
		kept = slices.Delete(kept, place, place+1)
	}
	kept = slices.Insert(kept, place, checkpoint)
	last := kept[len(kept)-1]
	best := bestOfPrograms(run, kept)
	return slices.DeleteFunc(kept, func(checkpoint *trellisv1.Checkpoint) bool {
		_, milestone := slices.BinarySearch(run.Milestones, checkpoint.Epoch)
		return !milestone && checkpoint != last && !best[checkpoint]
	})
}

// bestOfPrograms are the checkpoints of programs that have the best weights of a trial: for each milestone, and for the
// epochs so far, the last one that was the best when it was saved. A program's checkpoint has no other weights than
// those of its epoch.
func bestOfPrograms(run *trellisv1.Run, checkpoints []*trellisv1.Checkpoint) map[*trellisv1.Checkpoint]bool {
	var best map[*trellisv1.Checkpoint]bool
	milestones := run.Milestones
	for i, checkpoint := range checkpoints {
		if !checkpoint.Program || checkpoint.BestEpoch != checkpoint.Epoch {
			continue
		}
		for len(milestones) > 0 && milestones[0] < checkpoint.Epoch {
			milestones = milestones[1:]
		}
		// It is superseded by the next one that ends no later than the next milestone.
		superseded := slices.ContainsFunc(checkpoints[i+1:], func(later *trellisv1.Checkpoint) bool {
			return later.Program && later.BestEpoch == later.Epoch &&
				(len(milestones) == 0 || later.Epoch <= milestones[0])
		})
		if !superseded {
			if best == nil {
				best = map[*trellisv1.Checkpoint]bool{}
			}
			best[checkpoint] = true
		}
	}
	return best
}

// ValidDigest says whether a text is a SHA-256 digest in lower-case hexadecimal.
func ValidDigest(digest string) bool {
	decoded, err := hex.DecodeString(digest)
	return err == nil && len(decoded) == sha256.Size && strings.ToLower(digest) == digest
}

// LastCheckpoint returns the checkpoint from which the run's next attempt resumes, or nil if there is none.
func LastCheckpoint(run *trellisv1.Run) *trellisv1.Checkpoint {
	if len(run.GetCheckpoints()) == 0 {
		return nil
	}
	return run.Checkpoints[len(run.Checkpoints)-1]
}

// MayDropCheckpoints says whether a run of a study that has ended has checkpoints that nobody is about to use.
func MayDropCheckpoints(run *trellisv1.Run) bool {
	return len(run.GetCheckpoints()) > 0 && run.GetWorker() == ""
}

// BestWeights returns the checkpoint of a trial's run whose best weights are the trial's. If there are several, it
// returns the one at the trial's end, which is kept as long as the run, or else the latest. The error says why there is
// none. program is what the run trains, or nil if it trains a model.
func BestWeights(
	program *trellisv1.Program, trial *trellisv1.Trial, run *trellisv1.Run,
) (*trellisv1.Checkpoint, error) {
	index, best := trial.GetIndex(), trial.GetBestEpoch()
	if best == 0 {
		if trial.GetEpochs() == 0 {
			return nil, fmt.Errorf("trial %d has no weights yet: it is %s", index, lifecycle.Name(trial.GetState()))
		}
		return nil, fmt.Errorf("trial %d has no weights to use: its objective is not a finite number",
			index)
	}
	if checkpoint := bestCheckpoint(trial, run); checkpoint != nil {
		return checkpoint, nil
	}
	missing, reason := MissingWeights(trial, run)
	switch {
	case run.GetDispute() != nil && lifecycle.RunEnded(run.State) && !AuditDue(run):
		return nil, fmt.Errorf("the weights of trial %d are not certain: workers reported different losses for epoch "+
			"%d of its run in every attempt: retry the study to train it anew", index, run.GetDispute().GetEpoch())
	case run.GetDispute() != nil:
		return nil, fmt.Errorf("the weights of trial %d are not certain: workers reported different losses for epoch "+
			"%d of its run, which is trained again", index, run.GetDispute().GetEpoch())
	case missing:
		return nil, fmt.Errorf("the weights of trial %d could not be saved: %s: to train it anew, submit the study "+
			"under another name with --fresh", index, reason)
	case trial.GetState() == lifecycle.TrialRunning:
		return nil, fmt.Errorf("trial %d is still training, and the weights of epoch %d, its best so far, have not "+
			"been saved yet: try again later", index, best)
	case run.GetSharedEpochs() >= best:
		return nil, fmt.Errorf("no weights of trial %d are kept: epoch %d was trained for study %q, where none were "+
			"saved or they were deleted: submit the study under another name with --fresh, which trains it anew",
			index, best, run.GetSharedFrom())
	case program == nil && !lifecycle.RunEnded(run.GetState()) && LastCheckpoint(run).GetEpoch() < trial.GetEpochs():
		return nil, unsaved(trial, run)
	case len(run.GetCheckpoints()) == 0 && program != nil:
		return nil, fmt.Errorf("trial %d has no checkpoint: its program has reported none, or they were deleted", index)
	case run.GetState() == lifecycle.RunFailed && LastCheckpoint(run).GetEpoch() < trial.GetEpochs():
		return nil, fmt.Errorf("the weights of trial %d were not saved before its run failed, or were deleted: to "+
			"train them again: trellis retry %s", index, trial.GetStudy())
	case len(run.GetCheckpoints()) == 0:
		return nil, fmt.Errorf("no weights of trial %d are kept: they were deleted, as prune --checkpoints does with "+
			"all but those of the best trial, or the coordinator keeps none, as with --in-memory: to train it anew, "+
			"submit the study under another name with --fresh", index)
	default:
		return nil, fmt.Errorf("the weights of trial %d were not saved: its run has checkpoints, but none with the "+
			"weights of epoch %d: to train it anew, submit the study under another name with --fresh", index, best)
	}
}

// bestCheckpoint returns the checkpoint with the best weights of a trial: see BestWeights. It returns nil if there is
// none.
func bestCheckpoint(trial *trellisv1.Trial, run *trellisv1.Run) *trellisv1.Checkpoint {
	checkpoints, best := run.GetCheckpoints(), trial.GetBestEpoch()
	if place, kept := CheckpointAt(checkpoints, trial.GetEpochs()); kept && checkpoints[place].GetBestEpoch() == best {
		return checkpoints[place]
	}
	for _, checkpoint := range slices.Backward(checkpoints) {
		if checkpoint.GetBestEpoch() == best {
			return checkpoint
		}
	}
	return nil
}
