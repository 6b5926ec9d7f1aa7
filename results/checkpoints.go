package results

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/auditing"
	"trellis/results/trajectory"
)

// checkpoint records an attempt's checkpoint, or that it is missing: see Store.Record.
func (c *change) checkpoint(report *trellisv1.CheckpointReport) error {
	held, err := c.heldRun(report.GetStudy(), report.GetRun(), report.GetAttempt())
	if err != nil {
		return err
	}
	run, checkpoint := held.run(), report.GetCheckpoint()
	epoch, best := checkpoint.GetEpoch(), checkpoint.GetBestEpoch()
	switch {
	case epoch == 0 || epoch > run.Parameters.GetMaxEpochs():
		return fmt.Errorf("the epoch must be between 1 and %d: %w", run.Parameters.GetMaxEpochs(), ErrInvalid)
	case best > epoch:
		return fmt.Errorf("its best weights are of a later epoch, %d: %w", best, ErrInvalid)
	case report.GetMissing() == "" && !trajectory.ValidDigest(checkpoint.GetSha256()):
		return fmt.Errorf("invalid digest %q: must be a SHA-256 in lower-case hexadecimal: %w", checkpoint.GetSha256(),
			ErrInvalid)
	case epoch > run.Epochs:
		return fmt.Errorf("only %d epochs are recorded: %w", run.Epochs, ErrGap)
	case auditing.FromStart(run) && epoch > run.AttemptEpochs:
		return fmt.Errorf("only %d epochs have been compared: %w", run.AttemptEpochs, ErrGap)
	}
	place, again := trajectory.CheckpointAt(run.Checkpoints, epoch)
	if auditing.BeingAudited(run) && run.Dispute == nil {
		// It has what it needs, unless that was dropped.
		_, milestone := slices.BinarySearch(run.Milestones, epoch)
		if again || report.GetMissing() != "" || !milestone && epoch != run.Epochs {
			return nil
		}
	}
	if again && (report.GetMissing() != "" || proto.Equal(run.Checkpoints[place], checkpoint)) {
		return nil
	}
	if reason := report.GetMissing(); reason != "" {
		run = held.edit().Run
		run.MissingWeights = trajectory.WithMissing(run, &trellisv1.MissingWeights{
			Epoch: epoch, Reason: strings.Clone(reason),
		})
		return nil
	}
	run = held.edit().Run
	run.AttemptEpochs = max(run.AttemptEpochs, epoch)
	run.Checkpoints = trajectory.WithCheckpoint(run, &trellisv1.Checkpoint{
		Epoch: epoch, Sha256: strings.Clone(checkpoint.GetSha256()), Size: checkpoint.GetSize(), BestEpoch: best,
	})
	run.MissingWeights = trajectory.WithoutSaved(run)
	return nil
}

// SavedBy returns a run that refers to the checkpoint with the digest, and the checkpoint. It returns ErrNotFound if
// there is none: the run may have been deleted, or have continued and dropped the checkpoint. It looks at every run.
func (s *Snapshot) SavedBy(digest string) (*trellisv1.Run, *trellisv1.Checkpoint, error) {
	members, err := s.membersOf("")
	if err != nil {
		return nil, nil, err
	}
	for member := range members {
		for _, checkpoint := range member.Run.Checkpoints {
			if checkpoint.Sha256 == digest {
				return member.Run, checkpoint, nil
			}
		}
	}
	if err := s.Err(); err != nil {
		return nil, nil, err
	}
	return nil, nil, fmt.Errorf("run with the checkpoint %s: %w", digest, ErrNotFound)
}

// Artifacts returns the digests of all checkpoints that runs and the sources of studies refer to. All other artifacts
// may be deleted, except those that were uploaded after this snapshot and are about to be referred to.
func (s *Snapshot) Artifacts() (map[string]bool, error) {
	members, err := s.membersOf("")
	if err != nil {
		return nil, err
	}
	digests := map[string]bool{}
	for member := range members {
		for _, checkpoint := range member.Run.Checkpoints {
			digests[checkpoint.Sha256] = true
		}
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	// A run that starts from pretrained weights needs them at every attempt, even if the study that they come from is
	// gone.
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
