package trajectory

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
)

// Failure budgets: how many attempts at a run may fail in one class. The one that uses up its class's budget fails the
// run for good. Of lost workers only those count that were lost since the run's last new epoch was recorded: on
// machines that are taken away at any time a long run loses many workers and still gets on.
//
// Where a machine may be to blame (see mayBeMachine), attempts on one machine say little: beyond the budget, a run may
// still try a machine that it has not failed on, until it has failed on as many machines as the budget has attempts.
const (
	WorkerLostBudget  = 10
	TrainerBudget     = 3
	OutOfMemoryBudget = 1
	ConflictBudget    = 1
	InputBudget       = 1
	HungBudget        = 3
)

// QuarantineWorkers is how many workers of different machines may be lost at the same epoch of a run, counted from its
// last new epoch as for the budget: the run is then taken for what brought them down, and fails for good before its
// budget is used up. Training is deterministic, so a run that kills does so at the same place every time, while workers
// that are preempted or unplugged are lost anywhere. The epoch is the one after attempt_epochs: the last that the
// attempt reported or, before its first report, that of the checkpoint from which it went on. A machine that is
// restarted again and again counts once: its workers have different names.
const QuarantineWorkers = 3

const (
	lostClass   = trellisv1.FailureClass_FAILURE_CLASS_WORKER_LOST
	workerClass = trellisv1.FailureClass_FAILURE_CLASS_WORKER
)

var budgets = map[trellisv1.FailureClass]struct {
	attempts int
	// what happened to the last attempt, followed by its worker.
	what string
}{
	lostClass: {WorkerLostBudget, "the worker was lost"},
	trellisv1.FailureClass_FAILURE_CLASS_TRAINER:       {TrainerBudget, "the trainer failed"},
	trellisv1.FailureClass_FAILURE_CLASS_OUT_OF_MEMORY: {OutOfMemoryBudget, "memory ran out"},
	trellisv1.FailureClass_FAILURE_CLASS_CONFLICT:      {ConflictBudget, "two attempts gave different losses"},
	trellisv1.FailureClass_FAILURE_CLASS_HUNG:          {HungBudget, "the run made no progress"},
	workerClass: {1, "the worker can't train"},
	trellisv1.FailureClass_FAILURE_CLASS_INPUT: {InputBudget, "no worker can train it"},
}

// MaxFailures is how many failures of a run are remembered. Beyond it, the earliest that counts no more is forgotten:
// the budgets together are smaller. A run of a snapshot may have more that all count; of these, it is the very first.
const MaxFailures = 32

// Machine is what a worker's failures count for: the machine that it runs on or, if that is not known, itself.
func Machine(worker *trellisv1.Worker) string { return cmp.Or(worker.Machine, worker.Name) }

// mayBeMachine says whether failures of a class may be the machine's fault, so that another machine is worth a try. What
// is wrong with the worker itself is not among them: it is not given any run.
func mayBeMachine(class trellisv1.FailureClass) bool {
	return class == trellisv1.FailureClass_FAILURE_CLASS_TRAINER ||
		class == trellisv1.FailureClass_FAILURE_CLASS_HUNG
}

// FailedOnMachine says whether the worker's machine has failed in a way that another machine may not.
func FailedOnMachine(failures []*trellisv1.Failure, worker *trellisv1.Worker) bool {
	return slices.ContainsFunc(failures, func(failure *trellisv1.Failure) bool {
		return mayBeMachine(failure.Class) && machineOf(failure) == Machine(worker)
	})
}

// FailedOnWorker is FailedOnMachine for the worker itself.
func FailedOnWorker(failures []*trellisv1.Failure, worker *trellisv1.Worker) bool {
	return slices.ContainsFunc(failures, func(failure *trellisv1.Failure) bool {
		return mayBeMachine(failure.Class) && failure.Worker == worker.Name
	})
}

func machineOf(failure *trellisv1.Failure) string { return cmp.Or(failure.Machine, failure.Worker) }

// Fail is what becomes of the failures of a run whose attempt fails on a machine: those that are remembered, and why the
// run has failed for good, or nothing if it may try again. Ready are the workers that could take the run next. It fails
// if there is no such class.
func Fail(
	run *trellisv1.Run, machine string, class trellisv1.FailureClass, message string, ready iter.Seq[*trellisv1.Worker],
) (failures []*trellisv1.Failure, verdict string, err error) {
	if _, known := budgets[class]; !known {
		return nil, "", fmt.Errorf("failure class %v", class)
	}
	failures = append(slices.Clip(run.Failures), &trellisv1.Failure{
		Attempt: run.Attempt, Worker: run.Worker, Class: class, Message: strings.Clone(message),
		Epochs: run.AttemptEpochs, RunEpochs: run.Epochs, Machine: machine,
	})
	verdict = judge(failures, ready)
	if len(failures) > MaxFailures {
		spent := slices.IndexFunc(failures, func(failure *trellisv1.Failure) bool {
			return !counts(failure, run.Epochs)
		})
		spent = max(spent, 0)
		failures = slices.Delete(slices.Clone(failures), spent, spent+1)
	}
	return failures, verdict, nil
}

// counts says whether a failure still counts, of a run of which so many epochs are recorded. A lost worker does until a
// new epoch is recorded: a run that gets on is not to blame, however often its workers are taken away.
// What is wrong with a worker never counts: it says nothing about the run.
func counts(failure *trellisv1.Failure, epochs uint32) bool {
	return failure.Class != workerClass && (failure.Class != lostClass || failure.RunEpochs == epochs)
}

// judge says why a run that has failed so often has failed for good, or nothing if it may try again.
func judge(failures []*trellisv1.Failure, ready iter.Seq[*trellisv1.Worker]) string {
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
		machine := machineOf(failure)
		machines[machine] = true
		if failure.Epochs == last.Epochs && !slices.Contains(here, machine) {
			here, workers = append(here, machine), append(workers, failure.Worker)
		}
	}
	budget := budgets[last.Class]
	var verdict strings.Builder
	switch {
	case last.Class == lostClass && len(here) >= QuarantineWorkers:
		fmt.Fprintf(&verdict, "quarantined: %d different workers were lost while they trained its epoch %d: %s",
			len(workers), last.Epochs+1, strings.Join(workers, ", "))
	case attempts < budget.attempts:
		return ""
	case mayBeMachine(last.Class) && len(machines) < budget.attempts && anyUntried(failures, ready):
		return ""
	case attempts == 1:
		fmt.Fprintf(&verdict, "%s, on worker %s", budget.what, last.Worker)
	case last.Class == lostClass:
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
