package results

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// checkpoint notes an attempt's checkpoint: see Store.Record.
func (c *change) checkpoint(report *trellisv1.CheckpointReport) error {
	held, err := c.heldRun(report.GetStudy(), report.GetRun(), report.GetAttempt())
	if err != nil {
		return err
	}
	run, checkpoint := held.run(), report.GetCheckpoint()
	epoch, best := checkpoint.GetEpoch(), checkpoint.GetBestEpoch()
	switch {
	case epoch == 0 || epoch > run.Parameters.GetMaxEpochs():
		return fmt.Errorf("the run's epochs are 1 to %d: %w", run.Parameters.GetMaxEpochs(), ErrInvalid)
	case best > epoch:
		return fmt.Errorf("its best weights are of the later epoch %d: %w", best, ErrInvalid)
	case !validDigest(checkpoint.GetSha256()):
		return fmt.Errorf("%q is not a SHA-256 digest in lower-case hexadecimal: %w", checkpoint.GetSha256(), ErrInvalid)
	case epoch > run.Epochs:
		return fmt.Errorf("%d epochs are recorded: %w", run.Epochs, ErrGap)
	}
	if place, again := placeOfCheckpoint(run.Checkpoints, epoch); again && proto.Equal(run.Checkpoints[place], checkpoint) {
		return nil
	}
	run = held.edit().run
	run.AttemptEpochs = max(run.AttemptEpochs, epoch)
	run.Checkpoints = keepCheckpoint(run, &trellisv1.Checkpoint{
		Epoch: epoch, Sha256: strings.Clone(checkpoint.GetSha256()), Size: checkpoint.GetSize(), BestEpoch: best,
	})
	return nil
}

// placeOfCheckpoint returns where the checkpoint of an epoch is, or would be.
func placeOfCheckpoint(checkpoints []*trellisv1.Checkpoint, epoch uint32) (place int, found bool) {
	return slices.BinarySearchFunc(checkpoints, epoch, func(kept *trellisv1.Checkpoint, epoch uint32) int {
		return cmp.Compare(kept.Epoch, epoch)
	})
}

// keepCheckpoint returns the checkpoints that a run has with one more, which takes the place of one of the same epoch.
func keepCheckpoint(run *trellisv1.Run, checkpoint *trellisv1.Checkpoint) []*trellisv1.Checkpoint {
	// What is kept is copied before it is changed: rows share it.
	kept := slices.Clone(run.Checkpoints)
	place, again := placeOfCheckpoint(kept, checkpoint.Epoch)
	if again {
		kept = slices.Delete(kept, place, place+1)
	}
	kept = slices.Insert(kept, place, checkpoint)
	last := kept[len(kept)-1]
	return slices.DeleteFunc(kept, func(checkpoint *trellisv1.Checkpoint) bool {
		_, milestone := slices.BinarySearch(run.Milestones, checkpoint.Epoch)
		return !milestone && checkpoint != last
	})
}

// validDigest says whether a text is a SHA-256 digest as we write them.
func validDigest(digest string) bool {
	decoded, err := hex.DecodeString(digest)
	return err == nil && len(decoded) == sha256.Size && strings.ToLower(digest) == digest
}

// LastCheckpoint is the one from which the run's next attempt goes on, nil if there is none.
func LastCheckpoint(run *trellisv1.Run) *trellisv1.Checkpoint {
	if len(run.GetCheckpoints()) == 0 {
		return nil
	}
	return run.Checkpoints[len(run.Checkpoints)-1]
}

// BestWeights returns the checkpoint of a trial's run whose best weights are the trial's: if there are several, the one at the
// trial's end, which is kept as long as the run is, and else the latest. The error says why there is none.
func BestWeights(trial *trellisv1.Trial, run *trellisv1.Run) (*trellisv1.Checkpoint, error) {
	index, best := trial.GetIndex(), trial.GetBestEpoch()
	if best == 0 {
		if trial.GetEpochs() == 0 {
			return nil, fmt.Errorf("trial %d has no weights yet: it is %s", index, lifecycle.Name(trial.GetState()))
		}
		return nil, fmt.Errorf("trial %d has no weights to use: none of its validation losses is a finite number", index)
	}
	checkpoints := run.GetCheckpoints()
	if place, kept := placeOfCheckpoint(checkpoints, trial.GetEpochs()); kept && checkpoints[place].GetBestEpoch() == best {
		return checkpoints[place], nil
	}
	for _, checkpoint := range slices.Backward(checkpoints) {
		if checkpoint.GetBestEpoch() == best {
			return checkpoint, nil
		}
	}
	switch {
	case trial.GetState() == lifecycle.TrialRunning:
		return nil, fmt.Errorf("trial %d is still training, and the weights of epoch %d, its best so far, have not been saved "+
			"yet: try again later", index, best)
	case len(checkpoints) == 0:
		return nil, fmt.Errorf("no weights of trial %d were saved: a coordinator that was started with --in-memory keeps none", index)
	default:
		return nil, fmt.Errorf("the weights of trial %d were not saved: its run has checkpoints, but none with the weights of "+
			"epoch %d", index, best)
	}
}

// SavedBy returns a run that refers to a checkpoint, by its digest, and the checkpoint. ErrNotFound if there is none: the run may have
// been deleted, or have gone on and dropped it. It looks at every run.
func (s *Snapshot) SavedBy(digest string) (*trellisv1.Run, *trellisv1.Checkpoint, error) {
	members, err := s.membersOf("")
	if err != nil {
		return nil, nil, err
	}
	for member := range members {
		for _, checkpoint := range member.run.Checkpoints {
			if checkpoint.Sha256 == digest {
				return member.run, checkpoint, nil
			}
		}
	}
	return nil, nil, fmt.Errorf("run with the checkpoint %s: %w", digest, ErrNotFound)
}

// Artifacts returns the digests of all checkpoints that runs and the sources of studies refer to. What is not among them may be deleted, unless it has
// been uploaded after this moment and is about to be referred to.
func (s *Snapshot) Artifacts() (map[string]bool, error) {
	members, err := s.membersOf("")
	if err != nil {
		return nil, err
	}
	digests := map[string]bool{}
	for member := range members {
		for _, checkpoint := range member.run.Checkpoints {
			digests[checkpoint.Sha256] = true
		}
	}
	// A run that begins with pretrained weights needs them at every attempt, even if the study that they come from is gone.
	studies, err := s.Studies(nil)
	if err != nil {
		return nil, err
	}
	for _, study := range studies {
		if study.Pretrained != nil {
			digests[study.Pretrained.Sha256] = true
		}
	}
	return digests, nil
}
