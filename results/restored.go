package results

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/auditing"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// A restored state must be one that commands could have led to, as far as commands rely on it: applying the log must
// not fail because of what an administrator has restored.

// checkRestoredRun returns an error if a run is in a state that no run can be in.
func checkRestoredRun(run *trellisv1.Run) error {
	leased := run.State == lifecycle.RunLeased
	switch {
	case run.State < lifecycle.RunPending || run.State > lifecycle.RunPruned:
		return fmt.Errorf("run %s is %v: %w", run.Id, run.State, ErrCorrupt)
	case (run.Worker != "") != (run.Attempt != 0) || leased && run.Worker == "" ||
		!leased && run.Worker != "" && !trajectory.AuditDue(run):
		return fmt.Errorf("run %s is %s, but has attempt %d of worker %q: %w",
			run.Id, lifecycle.Name(run.State), run.Attempt, run.Worker, ErrCorrupt)
	case run.Epochs > run.GetParameters().GetMaxEpochs() || run.Epochs == 0 && run.State == lifecycle.RunSucceeded:
		return fmt.Errorf("run %s is %s after %d of %d epochs: %w",
			run.Id, lifecycle.Name(run.State), run.Epochs, run.GetParameters().GetMaxEpochs(), ErrCorrupt)
	case run.BestEpoch > run.Epochs:
		return fmt.Errorf("run %s has its best epoch, %d, after its last epoch, %d: %w", run.Id, run.BestEpoch,
			run.Epochs,
			ErrCorrupt)
	}
	if dispute := run.Dispute; dispute != nil && (dispute.Epoch == 0 || dispute.Epoch > run.Epochs+1) {
		return fmt.Errorf("run %s is disputed at epoch %d, and has %d epochs: %w", run.Id, dispute.Epoch, run.Epochs,
			ErrCorrupt)
	}
	last := uint32(0)
	for _, checkpoint := range run.Checkpoints {
		if checkpoint.GetEpoch() <= last || checkpoint.GetEpoch() > run.Epochs {
			return fmt.Errorf("run %s has a checkpoint of epoch %d after that of %d, and %d epochs: %w",
				run.Id, checkpoint.GetEpoch(), last, run.Epochs, ErrCorrupt)
		}
		last = checkpoint.Epoch
	}
	last = 0
	for _, missing := range run.MissingWeights {
		if missing.GetEpoch() <= last || missing.GetEpoch() > run.Epochs {
			return fmt.Errorf("run %s misses the weights of epoch %d after those of %d, and has %d epochs: %w",
				run.Id, missing.GetEpoch(), last, run.Epochs, ErrCorrupt)
		}
		last = missing.Epoch
	}
	return nil
}

// numericsOfVersion1 is the version of the trainer's arithmetic of every study in a snapshot of version 1: there was no
// other yet.
const numericsOfVersion1 = "1"

// complete fills in the fields that a snapshot of version 1 does not have, as if the study had been created today.
func (s *restoredStudy) complete() {
	s.study.Numerics = numericsOfVersion1
	s.study.Indices = s.catalog.Indices()
	if s.study.Progress != nil {
		s.study.Progress.EpochsAlone = progressOf(s.runs).EpochsAlone
	}
}

func progressOf(runs []*trellisv1.Run) *trellisv1.Progress {
	progress := &trellisv1.Progress{}
	for _, run := range runs {
		trajectory.AddProgress(progress, nil, run)
	}
	return progress
}

// checkRestoredStudy returns an error if a study contradicts its runs.
func checkRestoredStudy(restored *restoredStudy) error {
	study, runs := restored.study, restored.runs
	if study.Indices < restored.catalog.Indices() {
		return fmt.Errorf("study %q says that its trials' indices are below %d, but has a trial %d: %w",
			study.Name, study.Indices, restored.catalog.Indices()-1, ErrCorrupt)
	}
	progress := progressOf(runs)
	leased := slices.ContainsFunc(runs, auditing.Held)
	// These are sums of numbers that were added in another order.
	progress.TrainingSeconds = study.GetProgress().GetTrainingSeconds()
	progress.SecondsShared = study.GetProgress().GetSecondsShared()
	if !proto.Equal(study.Progress, progress) {
		return fmt.Errorf("the progress of study %q is %v, but that of its runs is %v: %w", study.Name, study.Progress,
			progress, ErrCorrupt)
	}
	known := study.State >= lifecycle.StudyRunning && study.State <= lifecycle.StudyCanceled
	if !known || leased && study.State != lifecycle.StudyRunning || study.State == lifecycle.StudyRunning &&
		trajectory.HasEnded(study, progress) {
		return fmt.Errorf("study %q is %v, but its runs are %v: %w", study.Name, study.State, progress, ErrCorrupt)
	}
	return nil
}

// checkRestoredWorker returns an error if a worker contradicts the leases.
func checkRestoredWorker(worker *trellisv1.Worker, leases int) error {
	known := worker.State >= lifecycle.WorkerReady && worker.State <= lifecycle.WorkerGone
	alive := worker.State == lifecycle.WorkerReady || worker.State == lifecycle.WorkerDraining
	if !known || int(worker.Runs) != leases || leases > 0 && !alive {
		return fmt.Errorf("worker %q is %v with %d runs, but %d are leased to it: %w",
			worker.Name, worker.State, worker.Runs, leases, ErrCorrupt)
	}
	return nil
}
