package progress

import (
	"fmt"

	"trellis/command/describe"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/trajectory"
)

// failures writes what updates say about failures. Runs that fail without having been tried say all the same, so they
// are counted and written together.
type failures struct {
	// untried are their errors, in the order in which they came.
	untried []string
	count   map[string]uint64
	// first is the name of the first run with an error.
	first map[string]string
}

// add says what a change of a run says about failures: that an attempt has failed, or the run permanently.
func (f *failures) add(before, after *trellisv1.Run, varied describe.Axes) (lines []string) {
	name := "run " + runName(after) + describe.InBrackets(describe.Parameters(after.GetParameters(), varied))
	failed := after.GetState() != before.GetState() && after.GetState() == trellisv1.RunState_RUN_STATE_FAILED
	attempts := after.GetFailures()
	if len(attempts) > len(before.GetFailures()) {
		failure := attempts[len(attempts)-1]
		if failed && failure.GetMessage() == after.GetError() {
			failed = false
			lines = append(lines, fmt.Sprintf("%s failed permanently, on worker %s: %s", name, failure.GetWorker(),
				describe.LastLine(failure.GetMessage())))
		} else {
			lines = append(lines, fmt.Sprintf("%s: the attempt on worker %s failed: %s", name, failure.GetWorker(),
				describeFailure(failure)))
			if lost, last := trajectory.LostWorkers(after); lost > 1 && last == failure && !failed {
				lines[len(lines)-1] += fmt.Sprintf(" %s (%d in a row without a new epoch; the run fails with the %dth "+
					"at the latest)", lostAfter(last), lost, trajectory.WorkerLostBudget)
			}
		}
	}
	if missing := after.GetMissingWeights(); len(missing) > len(before.GetMissingWeights()) {
		last := missing[len(missing)-1]
		lines = append(lines, fmt.Sprintf("%s: the weights of epoch %d could not be saved: %s", name, last.GetEpoch(),
			output.Shorten(last.GetReason(), 200)))
	}
	switch text := after.GetError(); {
	case failed && len(attempts) == 0:
		if f.count == nil {
			f.count, f.first = map[string]uint64{}, map[string]string{}
		}
		if f.count[text]++; f.count[text] == 1 {
			f.untried, f.first[text] = append(f.untried, text), name
		}
	case failed:
		lines = append(lines, fmt.Sprintf("%s failed permanently: %s", name, describe.LastLine(text)))
	}
	return lines
}

// close returns what is to be said of the runs together, and forgets them.
func (f *failures) close() (lines []string) {
	for _, text := range f.untried {
		who := f.first[text]
		if f.count[text] > 1 {
			who = output.Count(f.count[text], "run")
		}
		lines = append(lines, fmt.Sprintf("%s failed permanently: %s", who, describe.LastLine(text)))
	}
	*f = failures{}
	return lines
}

// untouchedFailed says that the runs have failed that had not begun, which a watch does not send one by one.
func untouchedFailed(before, after *trellisv1.Study) []string {
	its := after.GetUntouched()
	if before.GetUntouched() == nil && its.GetError() != "" &&
		its.GetState() == trellisv1.TrialState_TRIAL_STATE_CANCELED {
		return []string{"the runs that had not begun are " + its.GetError()}
	}
	if before.GetUntouched() != nil || its.GetState() != trellisv1.TrialState_TRIAL_STATE_FAILED {
		return nil
	}
	return []string{"the runs that had not begun failed permanently: " + describe.LastLine(its.GetError())}
}

// describeFailure says why an attempt failed.
func describeFailure(failure *trellisv1.Failure) string {
	class := map[trellisv1.FailureClass]string{
		trellisv1.FailureClass_FAILURE_CLASS_WORKER_LOST:   "the worker was lost",
		trellisv1.FailureClass_FAILURE_CLASS_OUT_OF_MEMORY: "the worker ran out of memory",
		trellisv1.FailureClass_FAILURE_CLASS_CONFLICT:      "its losses differ from those of an earlier attempt",
		trellisv1.FailureClass_FAILURE_CLASS_HUNG:          "it made no progress",
		trellisv1.FailureClass_FAILURE_CLASS_WORKER:        "the worker can't train; another worker will continue",
		trellisv1.FailureClass_FAILURE_CLASS_INPUT:         "no worker can train it",
		trellisv1.FailureClass_FAILURE_CLASS_RETURNED:      "the program handed its run back without a new epoch",
	}[failure.GetClass()]
	switch {
	case class == "" && failure.GetMessage() == "":
		return "no reason is known"
	case class == "":
		return describe.LastLine(failure.GetMessage())
	case failure.GetMessage() == "":
		return class
	default:
		return class + ": " + describe.LastLine(failure.GetMessage())
	}
}
