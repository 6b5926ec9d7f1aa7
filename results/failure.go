package results

import (
	"fmt"
	"slices"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
)

// Failure budgets: how many attempts at a run may fail in one class. The one that uses up its class's budget fails the
// run for good.
const (
	WorkerLostBudget  = 10
	TrainerBudget     = 3
	OutOfMemoryBudget = 1
	ConflictBudget    = 1
	HungBudget        = 3
)

// QuarantineWorkers is how many different workers may be lost at the same epoch of a run: the run is then taken for what
// brought them down, and fails for good before its budget is used up. Training is deterministic, so a run that kills
// does so at the same place every time, while workers that are preempted or unplugged are lost anywhere. A worker that
// is lost, comes back under its name and is lost again counts once.
const QuarantineWorkers = 3

var budgets = map[trellisv1.FailureClass]struct {
	attempts int
	// what happened to the last attempt, followed by its worker.
	what string
}{
	trellisv1.FailureClass_FAILURE_CLASS_WORKER_LOST:   {WorkerLostBudget, "the worker was lost"},
	trellisv1.FailureClass_FAILURE_CLASS_TRAINER:       {TrainerBudget, "the trainer failed"},
	trellisv1.FailureClass_FAILURE_CLASS_OUT_OF_MEMORY: {OutOfMemoryBudget, "memory ran out"},
	trellisv1.FailureClass_FAILURE_CLASS_CONFLICT:      {ConflictBudget, "two attempts gave different losses"},
	trellisv1.FailureClass_FAILURE_CLASS_HUNG:          {HungBudget, "the run made no progress"},
}

// failAttempt ends the attempt that holds the run as a failure. The run goes back to PENDING, or is FAILED if that was
// its last chance.
func (c *change) failAttempt(run *trellisv1.Run, class trellisv1.FailureClass, message string) error {
	if _, known := budgets[class]; !known {
		return fmt.Errorf("failure class %v: %w", class, ErrInvalid)
	}
	failure := &trellisv1.Failure{Attempt: run.Attempt, Worker: run.Worker, Class: class, Message: strings.Clone(message), Epochs: run.AttemptEpochs}
	failures := append(slices.Clip(run.Failures), failure)
	verdict := judge(failures)
	if verdict == "" {
		run = c.endAttempt(run, release)
	} else {
		run = c.endAttempt(run, fail)
	}
	run.Failures, run.Error = failures, verdict
	return nil
}

// judge says why a run that has failed so often has failed for good, or nothing if it may try again.
func judge(failures []*trellisv1.Failure) string {
	last := failures[len(failures)-1]
	attempts := 0
	var workers []string
	for _, failure := range failures {
		if failure.Class != last.Class {
			continue
		}
		attempts++
		if failure.Epochs == last.Epochs && !slices.Contains(workers, failure.Worker) {
			workers = append(workers, failure.Worker)
		}
	}
	budget := budgets[last.Class]
	lost := last.Class == trellisv1.FailureClass_FAILURE_CLASS_WORKER_LOST
	var verdict strings.Builder
	switch {
	case lost && len(workers) >= QuarantineWorkers:
		fmt.Fprintf(&verdict, "quarantined: %d different workers were lost while they trained its epoch %d: %s",
			len(workers), last.Epochs+1, strings.Join(workers, ", "))
	case attempts < budget.attempts:
		return ""
	case attempts == 1:
		fmt.Fprintf(&verdict, "%s, on worker %s", budget.what, last.Worker)
	default:
		fmt.Fprintf(&verdict, "%s in %d attempts, the last on worker %s", budget.what, attempts, last.Worker)
	}
	if last.Message != "" {
		fmt.Fprintf(&verdict, ": %s", last.Message)
	}
	return verdict.String()
}
