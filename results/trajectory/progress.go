package trajectory

import (
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// AddProgress updates a study's progress after a run has changed: it subtracts what the run counted for before, and
// adds what it counts for now. before is nil for a new run.
func AddProgress(progress *trellisv1.Progress, before, after *trellisv1.Run) {
	if before != nil {
		countRun(progress, before, ^uint64(0))
	}
	countRun(progress, after, 1)
	progress.TrainingSeconds += after.TrainingSeconds - before.GetTrainingSeconds()
	progress.SecondsShared += after.SharedSeconds - before.GetSharedSeconds()
}

// AddTouched updates a study's progress after one of its untouched runs has become what it is now.
func AddTouched(progress *trellisv1.Progress, untouched *trellisv1.Untouched, now *trellisv1.Run) {
	AddProgress(progress, &trellisv1.Run{
		Parameters: now.Parameters, Milestones: now.Milestones, State: StateOfUntouched(untouched),
	}, now)
}

// Untouched returns the progress of a study with the given number of runs, trials and epochs, of which none is touched.
func Untouched(runs, trials, epochs uint64, untouched *trellisv1.Untouched) *trellisv1.Progress {
	progress := &trellisv1.Progress{Runs: runs, Trials: trials}
	switch StateOfUntouched(untouched) {
	case lifecycle.RunFailed:
		progress.RunsFailed, progress.TrialsFailed = runs, trials
	case lifecycle.RunCanceled:
		progress.RunsCanceled, progress.TrialsCanceled = runs, trials
	default:
		progress.EpochsLeft = epochs
	}
	return progress
}

// AddUntouched adds what Untouched returns to a study's progress, times sign, which is 1 or -1.
func AddUntouched(progress, more *trellisv1.Progress, sign int) {
	n := uint64(int64(sign))
	progress.Runs += n * more.Runs
	progress.Trials += n * more.Trials
	progress.RunsFailed += n * more.RunsFailed
	progress.TrialsFailed += n * more.TrialsFailed
	progress.RunsCanceled += n * more.RunsCanceled
	progress.TrialsCanceled += n * more.TrialsCanceled
	progress.EpochsLeft += n * more.EpochsLeft
}

// countRun adds a run's share to the counts, times sign, which is 1 or, modulo 2^64, -1. The trials follow from the
// run: each has its own milestone.
func countRun(progress *trellisv1.Progress, run *trellisv1.Run, sign uint64) {
	trials := uint64(len(run.Milestones))
	answered := uint64(AnsweredTrials(run))
	open := trials - answered
	progress.Runs += sign
	progress.Trials += sign * trials
	progress.TrialsSucceeded += sign * answered
	progress.Epochs += sign * uint64(run.Epochs)
	progress.EpochsShared += sign * uint64(run.SharedEpochs)
	for _, milestone := range run.Milestones[:answered] {
		progress.EpochsAlone += sign * uint64(min(milestone, run.Epochs))
	}
	switch run.State {
	case lifecycle.RunLeased:
		progress.RunsRunning += sign
		progress.TrialsRunning += sign * open
	case lifecycle.RunSucceeded:
		progress.RunsSucceeded += sign
	case lifecycle.RunFailed:
		progress.RunsFailed += sign
		progress.TrialsFailed += sign * open
	case lifecycle.RunCanceled:
		progress.RunsCanceled += sign
		progress.TrialsCanceled += sign * open
	case lifecycle.RunPruned:
		progress.RunsPruned += sign
		progress.TrialsPruned += sign * open
	}
	if run.Dispute != nil {
		progress.RunsDisputed += sign
	}
	switch {
	case AuditDue(run):
		progress.AuditsDue += sign
	case run.GetAudit().GetState() == trellisv1.AuditState_AUDIT_STATE_EQUAL:
		progress.RunsAudited += sign
	}
	if !lifecycle.RunEnded(run.State) {
		progress.EpochsLeft += sign * uint64(run.Parameters.GetMaxEpochs()-run.Epochs)
	}
}

// AnsweredTrials returns how many of a run's trials have results: those whose max_epochs it has reached, and all of
// them once it has succeeded. As long as a program has not reported the objective's metric at all, none has: the run may
// still turn out to be one that never does, which fails.
func AnsweredTrials(run *trellisv1.Run) int {
	if run.State == lifecycle.RunSucceeded {
		return len(run.Milestones)
	}
	if Unranked(run) {
		return 0
	}
	reached, _ := slices.BinarySearch(run.Milestones, run.Epochs+1)
	return reached
}

// Unranked says whether a run has epochs, and none of them has a value of the objective's metric: see LacksObjective. Only
// a program's has neither a loss nor the objective's value.
func Unranked(run *trellisv1.Run) bool {
	return run.Epochs > 0 && run.Metric == nil && run.BestEpoch == 0 && run.ValidationLoss == 0
}

// OpenRuns returns how many runs have not ended.
func OpenRuns(p *trellisv1.Progress) uint64 {
	return p.Runs - p.RunsSucceeded - p.RunsFailed - p.RunsCanceled - p.RunsPruned
}

func allRunsEnded(p *trellisv1.Progress) bool { return OpenRuns(p) == 0 }

// AuditDue says whether a run has succeeded and is to be trained again, or is being trained again.
func AuditDue(run *trellisv1.Run) bool {
	return run.State == lifecycle.RunSucceeded && run.GetAudit().GetState() == trellisv1.AuditState_AUDIT_STATE_DUE
}

// HasEnded says whether a RUNNING study has nothing left to do: its runs have ended, those that are to be audited have
// been, and if its spec has settle, it is settled. Until then, the coordinator may extend it by more seeds.
func HasEnded(study *trellisv1.Study, progress *trellisv1.Progress) bool {
	return allRunsEnded(progress) && progress.AuditsDue == 0 && (study.GetSpec().GetSettle() == nil || study.Settled)
}
