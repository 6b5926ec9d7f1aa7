package results

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// What is restored must be a state that commands could have led to, as far as commands rely on it: applying the log must not
// fail over what an administrator has restored.

// checkRestoredRun says what no run can be.
func checkRestoredRun(run *trellisv1.Run) error {
	leased := run.State == runLeased
	switch {
	case run.State < runPending || run.State > runCanceled:
		return fmt.Errorf("run %s is %v: %w", run.Id, run.State, ErrCorrupt)
	case leased != (run.Worker != "") || leased != (run.Attempt != 0):
		return fmt.Errorf("run %s is %s, in attempt %d of worker %q: %w",
			run.Id, stateName(run.State), run.Attempt, run.Worker, ErrCorrupt)
	case run.Epochs > run.GetParameters().GetMaxEpochs() || run.Epochs == 0 && run.State == runSucceeded:
		return fmt.Errorf("run %s is %s after %d of %d epochs: %w",
			run.Id, stateName(run.State), run.Epochs, run.GetParameters().GetMaxEpochs(), ErrCorrupt)
	}
	last := uint32(0)
	for _, checkpoint := range run.Checkpoints {
		if checkpoint.GetEpoch() <= last || checkpoint.GetEpoch() > run.Epochs {
			return fmt.Errorf("run %s has a checkpoint of epoch %d after that of %d, and %d epochs: %w",
				run.Id, checkpoint.GetEpoch(), last, run.Epochs, ErrCorrupt)
		}
		last = checkpoint.Epoch
	}
	return nil
}

// checkRestoredStudy says whether a study is what its runs say.
func checkRestoredStudy(study *trellisv1.Study, runs []*trellisv1.Run) error {
	progress := &trellisv1.Progress{}
	leased := false
	for _, run := range runs {
		addProgress(progress, nil, run)
		leased = leased || run.State == runLeased
	}
	// A sum of numbers that were added in another order.
	progress.TrainingSeconds = study.GetProgress().GetTrainingSeconds()
	if !proto.Equal(study.Progress, progress) {
		return fmt.Errorf("the progress of study %s is %v, that of its runs %v: %w", study.Name, study.Progress, progress, ErrCorrupt)
	}
	known := study.State >= studyRunning && study.State <= studyCanceled
	if !known || leased && study.State != studyRunning || allRunsEnded(progress) && study.State == studyRunning {
		return fmt.Errorf("study %s is %v, and its runs are %v: %w", study.Name, study.State, progress, ErrCorrupt)
	}
	return nil
}

// checkRestoredWorker says whether a worker is what the leases say.
func checkRestoredWorker(worker *trellisv1.Worker, leases int) error {
	known := worker.State >= workerReady && worker.State <= workerGone
	alive := worker.State == workerReady || worker.State == workerDraining
	if !known || int(worker.Runs) != leases || leases > 0 && !alive {
		return fmt.Errorf("worker %q is %v with %d runs, %d are leased to it: %w",
			worker.Name, worker.State, worker.Runs, leases, ErrCorrupt)
	}
	return nil
}
