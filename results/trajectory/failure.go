package trajectory

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
)

// Failure budgets: how many attempts at a run may fail in one class. The failure that uses up its class's budget fails
// the run for good. Lost workers only count if they were lost since the run's last new epoch was recorded: on machines
// that can be taken away at any time, a long run loses many workers and still makes progress.
//
// If a machine may be to blame (see mayBeMachine), attempts on one machine say little. So beyond the budget, a run may
// still try machines on which it has not failed, until it has failed on as many machines as the budget has attempts.
// But the run may never get to those machines: twice its budget always fails it for good.
const (
	WorkerLostBudget  = 10
	TrainerBudget     = 3
	OutOfMemoryBudget = 1
	ConflictBudget    = 1 // See MaxConflicts.
	InputBudget       = 1
	HungBudget        = 3
	// ReturnedBudget, too, is of those since the last new epoch.
	ReturnedBudget = 5
	// MaxConflicts is the budget of conflicts since a run is trained again after each, and of those of its audit. More
	// machines than two that agree are faulty, or the run is not deterministic.
	MaxConflicts = 10
)

// Rules is the version of the rules by which failures are judged. Each command names its own: a node that replays an
// old log must judge as the nodes did that wrote it.
type Rules uint32

const (
	// CountAttempts are the rules of Trellis 0.1.0, whose commands name none: every attempt counts, and a worker is
	// known by its name.
	CountAttempts Rules = iota
	// CountMachines are the rules above, and the first conflict fails a run.
	CountMachines
	// TrainAgain are those of Trellis since it decides disagreements: a conflict fails no run. It is trained again.
	TrainAgain
	// CountAudits are those of Trellis since a conflict counts as a failure of the audit that it ends: before, a run that
	// is not deterministic was audited forever. Workers that are GONE are forgotten before those that are LOST.
	CountAudits
	// CountReturns are those of Trellis since a program may hand its run back: doing so without a new epoch is a failure.
	// Specs and points are different messages since: a Trellis that does not know these rules would misread them, and
	// refuses them instead.
	CountReturns
	// MatchLabels are those of Trellis since a study is deleted only if it is the one that was looked at:
	// DeleteStudyCommand.create_index, which a node of the rules before would ignore, and delete what the others keep. Such a node
	// refuses the commands instead. Failures are judged alike. The name is of labels of workers, which came at the time; the
	// rules before knew these already.
	MatchLabels
	// FitMemory are those of Trellis since studies have what their networks take (Study.network), which a node of the
	// rules before would not store: it would judge failures by workers that are too small, and give them runs once it
	// leads. Such a node refuses the commands instead.
	FitMemory
	// LatestRules are those of new commands.
	LatestRules = FitMemory
)

// QuarantineWorkers is the number of workers of different machines after whose loss at the same epoch of a run the run
// fails for good, before its budget is used up: the run probably crashed them. As for the budget, only losses since the
// last new epoch count. Training is deterministic, so a run that crashes its worker does so at the same place every
// time, while workers that are preempted or unplugged are lost anywhere. The epoch is the one after attempt_epochs: the
// last epoch that the attempt reported or, before its first report, that of the checkpoint from which it resumed. A
// machine that is restarted repeatedly counts once, although its workers have different names.
const QuarantineWorkers = 3

const (
	lostClass   = trellisv1.FailureClass_FAILURE_CLASS_WORKER_LOST
	workerClass = trellisv1.FailureClass_FAILURE_CLASS_WORKER
	// returnedClass is of programs alone.
	returnedClass = trellisv1.FailureClass_FAILURE_CLASS_RETURNED
)

var budgets = map[trellisv1.FailureClass]struct {
	attempts int
	// what happened to the last attempt, followed by its worker.
	what string
}{
	lostClass: {WorkerLostBudget, "the worker was lost"},
	trellisv1.FailureClass_FAILURE_CLASS_TRAINER:       {TrainerBudget, "the training failed"},
	trellisv1.FailureClass_FAILURE_CLASS_OUT_OF_MEMORY: {OutOfMemoryBudget, "memory ran out"},
	trellisv1.FailureClass_FAILURE_CLASS_CONFLICT:      {ConflictBudget, "two attempts gave different losses"},
	trellisv1.FailureClass_FAILURE_CLASS_HUNG:          {HungBudget, "the run made no progress"},
	workerClass: {1, "the worker can't train"},
	trellisv1.FailureClass_FAILURE_CLASS_INPUT: {InputBudget, "no worker can train it"},
	returnedClass: {ReturnedBudget, "the program handed its run back"},
}

// MaxFailures is how many failures of a run are remembered. Beyond that, the earliest failure that no longer counts is
// forgotten: there is one, because the budgets together are smaller. A run of a snapshot may have more failures that
// all count. Then the very first is forgotten.
const MaxFailures = 32

// Machine returns what a worker's failures count for: its machine or, if that is not known, the worker itself.
func Machine(worker *trellisv1.Worker) string { return cmp.Or(worker.Machine, worker.Name) }

// mayBeMachine says whether failures of a class may be the machine's fault, so that another machine is worth a try.
func mayBeMachine(class trellisv1.FailureClass) bool {
	return class == trellisv1.FailureClass_FAILURE_CLASS_TRAINER ||
		class == trellisv1.FailureClass_FAILURE_CLASS_HUNG
}

// onlyThere says whether an attempt may go otherwise on another machine. One at which the worker can't train does not
// count, but has been made: a run that waited for such a worker to be tried might wait forever.
func onlyThere(class trellisv1.FailureClass) bool {
	return class == workerClass || class == returnedClass || mayBeMachine(class)
}

// FailedOnMachine says whether the worker's machine has failed in a way that another machine may not.
func FailedOnMachine(failures []*trellisv1.Failure, worker *trellisv1.Worker) bool {
	return slices.ContainsFunc(failures, func(failure *trellisv1.Failure) bool {
		return onlyThere(failure.Class) && machineOf(failure) == Machine(worker)
	})
}

// FailedOnWorker is like FailedOnMachine, for the worker itself.
func FailedOnWorker(failures []*trellisv1.Failure, worker *trellisv1.Worker) bool {
	return slices.ContainsFunc(failures, func(failure *trellisv1.Failure) bool {
		return onlyThere(failure.Class) && failure.Worker == worker.Name
	})
}

func machineOf(failure *trellisv1.Failure) string { return cmp.Or(failure.Machine, failure.Worker) }

// known says whether the rules have a class.
func (r Rules) known(class trellisv1.FailureClass) bool {
	_, known := budgets[class]
	switch class {
	case workerClass, trellisv1.FailureClass_FAILURE_CLASS_INPUT:
		return r != CountAttempts
	case returnedClass:
		return r >= CountReturns
	default:
		return known
	}
}

// Fail returns the failures of a run after another attempt has failed on a machine, and why the run has failed for
// good, or "" if it may be retried. ready are the workers that could take the run next. It returns an error if there is
// no such class.
func (r Rules) Fail(
	run *trellisv1.Run, machine string, class trellisv1.FailureClass, message string, ready iter.Seq[*trellisv1.Worker],
) (failures []*trellisv1.Failure, verdict string, err error) {
	if !r.known(class) {
		return nil, "", fmt.Errorf("failure class %v", class)
	}
	failures = append(slices.Clip(run.Failures), &trellisv1.Failure{
		Attempt: run.Attempt, Worker: run.Worker, Class: class, Message: strings.Clone(message),
		Epochs: run.AttemptEpochs, RunEpochs: run.Epochs, Machine: machine,
	})
	verdict = r.judge(failures, ready)
	if len(failures) > MaxFailures {
		spent := slices.IndexFunc(failures, func(failure *trellisv1.Failure) bool {
			return !counts(failure, run.Epochs)
		})
		spent = max(spent, 0)
		failures = slices.Delete(slices.Clone(failures), spent, spent+1)
	}
	return failures, verdict, nil
}

// counts says whether a failure still counts for a run with the given number of recorded epochs. A lost worker counts
// until a new epoch is recorded, and so does a run that was handed back: one that makes progress is not to blame, no matter
// how often its workers are lost.
// Faults of a worker never count, because they say nothing about the run.
func counts(failure *trellisv1.Failure, epochs uint32) bool {
	switch failure.Class {
	case workerClass:
		return false
	case lostClass, returnedClass:
		return failure.RunEpochs == epochs
	default:
		return true
	}
}

// judge returns why a run with these failures has failed for good, or "" if it may be retried.
func (r Rules) judge(failures []*trellisv1.Failure, ready iter.Seq[*trellisv1.Worker]) string {
	last := failures[len(failures)-1]
	attempts := 0
	// machines are all on which it failed. Those on which it did so at the epoch of the last failure are here, with a
	// worker of each.
	machines := map[string]bool{}
	var here, workers []string
	for _, failure := range failures {
		if failure.Class != last.Class || !counts(failure, last.RunEpochs) {
			continue
		}
		attempts++
		machine := failure.Worker
		if r != CountAttempts {
			machine = machineOf(failure)
		}
		machines[machine] = true
		if failure.Epochs == last.Epochs && !slices.Contains(here, machine) {
			here, workers = append(here, machine), append(workers, failure.Worker)
		}
	}
	budget := budgets[last.Class]
	var verdict strings.Builder
	switch {
	case last.Class == trellisv1.FailureClass_FAILURE_CLASS_CONFLICT && r >= TrainAgain && attempts < MaxConflicts:
		return ""
	case last.Class == lostClass && len(here) >= QuarantineWorkers:
		fmt.Fprintf(&verdict, "quarantined: %d different workers were lost while they trained its epoch %d: %s",
			len(workers), last.Epochs+1, strings.Join(workers, ", "))
	case attempts < budget.attempts:
		return ""
	case r != CountAttempts && mayBeMachine(last.Class) && attempts < 2*budget.attempts &&
		len(machines) < budget.attempts && anyUntried(failures, ready):
		return ""
	case attempts == 1:
		fmt.Fprintf(&verdict, "%s, on worker %s", budget.what, last.Worker)
	case last.Class == lostClass || last.Class == returnedClass:
		fmt.Fprintf(&verdict, "%s in %d attempts without a new epoch, the last on worker %s", budget.what, attempts,
			last.Worker)
	default:
		fmt.Fprintf(&verdict, "%s in %d attempts, the last on worker %s", budget.what, attempts, last.Worker)
	}
	if last.Message != "" {
		fmt.Fprintf(&verdict, ": %s", last.Message)
	}
	return verdict.String()
}

// anyUntried says whether one of the workers runs on a machine that the run has not failed on.
func anyUntried(failures []*trellisv1.Failure, ready iter.Seq[*trellisv1.Worker]) bool {
	for worker := range ready {
		if !FailedOnMachine(failures, worker) {
			return true
		}
	}
	return false
}
