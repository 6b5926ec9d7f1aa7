package consistency

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/snapshotfile"
	"trellis/results/trajectory"
)

// CheckRun returns an error if a run is in a state that no run can be in.
func CheckRun(run *trellisv1.Run) error {
	leased := run.State == lifecycle.RunLeased
	switch {
	case run.State < lifecycle.RunPending || run.State > lifecycle.RunPruned:
		return fmt.Errorf("run %s is %v: %w", run.Id, run.State, snapshotfile.ErrCorrupt)
	case (run.Worker != "") != (run.Attempt != 0) || leased && run.Worker == "" ||
		!leased && run.Worker != "" && !trajectory.AuditDue(run):
		return fmt.Errorf("run %s is %s, but has attempt %d of worker %q: %w",
			run.Id, lifecycle.Name(run.State), run.Attempt, run.Worker, snapshotfile.ErrCorrupt)
	case run.Epochs > run.GetParameters().GetMaxEpochs() || run.Epochs == 0 && run.State == lifecycle.RunSucceeded:
		return fmt.Errorf("run %s is %s after %d of %d epochs: %w",
			run.Id, lifecycle.Name(run.State), run.Epochs, run.GetParameters().GetMaxEpochs(), snapshotfile.ErrCorrupt)
	case run.BestEpoch > run.Epochs:
		return fmt.Errorf("run %s has its best epoch, %d, after its last epoch, %d: %w", run.Id, run.BestEpoch,
			run.Epochs, snapshotfile.ErrCorrupt)
	}
	if dispute := run.Dispute; dispute != nil && (dispute.Epoch == 0 || dispute.Epoch > run.Epochs+1) {
		return fmt.Errorf("run %s is disputed at epoch %d, and has %d epochs: %w", run.Id, dispute.Epoch, run.Epochs,
			snapshotfile.ErrCorrupt)
	}
	last := uint32(0)
	for _, checkpoint := range run.Checkpoints {
		if checkpoint.GetEpoch() <= last || checkpoint.GetEpoch() > run.Epochs {
			return fmt.Errorf("run %s has a checkpoint of epoch %d after that of %d, and %d epochs: %w",
				run.Id, checkpoint.GetEpoch(), last, run.Epochs, snapshotfile.ErrCorrupt)
		}
		last = checkpoint.Epoch
	}
	last = 0
	for _, missing := range run.MissingWeights {
		if missing.GetEpoch() <= last || missing.GetEpoch() > run.Epochs {
			return fmt.Errorf("run %s misses the weights of epoch %d after those of %d, and has %d epochs: %w",
				run.Id, missing.GetEpoch(), last, run.Epochs, snapshotfile.ErrCorrupt)
		}
		last = missing.Epoch
	}
	return nil
}

// ProgressOf returns the progress of a study with the runs.
func ProgressOf(runs []*trellisv1.Run) *trellisv1.Progress {
	progress := &trellisv1.Progress{}
	for _, run := range runs {
		trajectory.AddProgress(progress, nil, run)
	}
	return progress
}

// CheckStudy returns an error if a study contradicts its runs, which have the given progress, and of which some are leased or
// not. indices is the largest index of its trials plus one.
func CheckStudy(study *trellisv1.Study, progress *trellisv1.Progress, leased bool, indices uint64) error {
	if study.Indices < indices {
		return fmt.Errorf("study %q says that its trials' indices are below %d, but has a trial %d: %w",
			study.Name, study.Indices, indices-1, snapshotfile.ErrCorrupt)
	}
	// These are sums of numbers that were added in another order.
	progress.TrainingSeconds = study.GetProgress().GetTrainingSeconds()
	progress.SecondsShared = study.GetProgress().GetSecondsShared()
	if !proto.Equal(study.Progress, progress) {
		return fmt.Errorf("the progress of study %q is %v, but that of its runs is %v: %w", study.Name, study.Progress,
			progress, snapshotfile.ErrCorrupt)
	}
	known := study.State >= lifecycle.StudyRunning && study.State <= lifecycle.StudyCanceled
	if !known || leased && study.State != lifecycle.StudyRunning || study.State == lifecycle.StudyRunning &&
		trajectory.HasEnded(study, progress) {
		return fmt.Errorf("study %q is %v, but its runs are %v: %w", study.Name, study.State, progress,
			snapshotfile.ErrCorrupt)
	}
	return nil
}

// CheckWorker returns an error if a worker contradicts the number of runs that are leased to it.
func CheckWorker(worker *trellisv1.Worker, leases int) error {
	known := worker.State >= lifecycle.WorkerReady && worker.State <= lifecycle.WorkerGone
	alive := worker.State == lifecycle.WorkerReady || worker.State == lifecycle.WorkerDraining
	if !known || int(worker.Runs) != leases || leases > 0 && !alive {
		return fmt.Errorf("worker %q is %v with %d runs, but %d are leased to it: %w",
			worker.Name, worker.State, worker.Runs, leases, snapshotfile.ErrCorrupt)
	}
	return nil
}
