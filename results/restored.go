package results

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// What is restored must be a state that commands could have led to, as far as commands rely on it: applying the log
// must not fail over what an administrator has restored.

// checkRestoredRun says what no run can be.
func checkRestoredRun(run *trellisv1.Run) error {
	leased := run.State == lifecycle.RunLeased
	switch {
	case run.State < lifecycle.RunPending || run.State > lifecycle.RunPruned:
		return fmt.Errorf("run %s is %v: %w", run.Id, run.State, ErrCorrupt)
	case leased != (run.Worker != "") || leased != (run.Attempt != 0):
		return fmt.Errorf("run %s is %s, in attempt %d of worker %q: %w",
			run.Id, lifecycle.Name(run.State), run.Attempt, run.Worker, ErrCorrupt)
	case run.Epochs > run.GetParameters().GetMaxEpochs() || run.Epochs == 0 && run.State == lifecycle.RunSucceeded:
		return fmt.Errorf("run %s is %s after %d of %d epochs: %w",
			run.Id, lifecycle.Name(run.State), run.Epochs, run.GetParameters().GetMaxEpochs(), ErrCorrupt)
	case run.BestEpoch > run.Epochs:
		return fmt.Errorf("run %s has its best epoch, %d, after its last, %d: %w", run.Id, run.BestEpoch, run.Epochs,
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

// numericsOfVersion1 is the version of the trainer's arithmetic that every study of a snapshot of version 1 was trained
// with: there was no other yet.
const numericsOfVersion1 = "1"

// complete gives a study of a snapshot of version 1 what that has no fields for, as if it had been created today.
func (s *restoredStudy) complete() {
	s.study.Numerics = numericsOfVersion1
	s.study.Indices = s.catalog.indices()
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

// checkRestoredStudy says whether a study is what its runs say.
func checkRestoredStudy(restored *restoredStudy) error {
	study, runs := restored.study, restored.runs
	if study.Indices < restored.catalog.indices() {
		return fmt.Errorf("study %s says that the indices of its trials are below %d, it has one of %d: %w",
			study.Name, study.Indices, restored.catalog.indices()-1, ErrCorrupt)
	}
	progress := progressOf(runs)
	leased := slices.ContainsFunc(runs, func(run *trellisv1.Run) bool { return run.State == lifecycle.RunLeased })
	// Sums of numbers that were added in another order.
	progress.TrainingSeconds = study.GetProgress().GetTrainingSeconds()
	progress.SecondsShared = study.GetProgress().GetSecondsShared()
	if !proto.Equal(study.Progress, progress) {
		return fmt.Errorf("the progress of study %s is %v, that of its runs %v: %w", study.Name, study.Progress,
			progress, ErrCorrupt)
	}
	known := study.State >= lifecycle.StudyRunning && study.State <= lifecycle.StudyCanceled
	if !known || leased && study.State != lifecycle.StudyRunning || study.State == lifecycle.StudyRunning &&
		trajectory.HasEnded(study, progress) {
		return fmt.Errorf("study %s is %v, and its runs are %v: %w", study.Name, study.State, progress, ErrCorrupt)
	}
	return nil
}

// checkRestoredWorker says whether a worker is what the leases say.
func checkRestoredWorker(worker *trellisv1.Worker, leases int) error {
	known := worker.State >= lifecycle.WorkerReady && worker.State <= lifecycle.WorkerGone
	alive := worker.State == lifecycle.WorkerReady || worker.State == lifecycle.WorkerDraining
	if !known || int(worker.Runs) != leases || leases > 0 && !alive {
		return fmt.Errorf("worker %q is %v with %d runs, %d are leased to it: %w",
			worker.Name, worker.State, worker.Runs, leases, ErrCorrupt)
	}
	return nil
}
