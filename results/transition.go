package results

import (
	"fmt"
	"slices"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
)

// transition is one arrow of a state machine: an event that leads from any of its sources to one destination.
type transition[State comparable] struct {
	event string
	from  []State
	to    State
}

// machine is a state machine as a value: its arrows. What is not among them is an illegal move.
type machine[State interface {
	comparable
	fmt.Stringer
}] struct {
	// noun is what the states are of, for errors.
	noun        string
	transitions []transition[State]
}

// next returns where the event leads from a state, or ErrIllegalMove.
func (m machine[State]) next(from State, event string) (State, error) {
	for _, t := range m.transitions {
		if t.event == event && slices.Contains(t.from, from) {
			return t.to, nil
		}
	}
	return from, fmt.Errorf("%s a %s that is %s: %w", event, m.noun, stateName(from), ErrIllegalMove)
}

// must is next for moves whose legality has been established. An illegal one is a defect of this package.
func (m machine[State]) must(from State, event string) State {
	to, err := m.next(from, event)
	if err != nil {
		panic("results: " + err.Error())
	}
	return to
}

// The events.
const (
	pause    = "pause"
	resume   = "resume"
	cancel   = "cancel"
	complete = "complete"
	reopen   = "reopen"
	grant    = "grant"
	release  = "release"
	succeed  = "succeed"
	fail     = "fail"
	learn    = "learn"
	lengthen = "lengthen"
	retry    = "retry"
	hold     = "hold"
	promote  = "promote"
	register = "register"
	drain    = "drain"
	lose     = "lose"
	dismiss  = "dismiss"
)

var studyMachine = machine[trellisv1.StudyState]{"study", []transition[trellisv1.StudyState]{
	{pause, []trellisv1.StudyState{studyRunning}, studyPaused},
	{resume, []trellisv1.StudyState{studyPaused}, studyRunning},
	{cancel, []trellisv1.StudyState{studyRunning, studyPaused}, studyCanceled},
	{complete, []trellisv1.StudyState{studyRunning}, studyCompleted},
	{reopen, []trellisv1.StudyState{studyCompleted, studyRunning}, studyRunning},
	{reopen, []trellisv1.StudyState{studyPaused}, studyPaused},
}}

var runMachine = machine[trellisv1.RunState]{"run", []transition[trellisv1.RunState]{
	{grant, []trellisv1.RunState{runPending}, runLeased},
	{release, []trellisv1.RunState{runLeased}, runPending},
	{succeed, []trellisv1.RunState{runLeased}, runSucceeded},
	{fail, []trellisv1.RunState{runLeased}, runFailed},
	{learn, []trellisv1.RunState{runPending}, runSucceeded},
	{lengthen, []trellisv1.RunState{runSucceeded}, runPending},
	{retry, []trellisv1.RunState{runFailed, runPruned}, runPending},
	{hold, []trellisv1.RunState{runPending}, runPruned},
	{promote, []trellisv1.RunState{runPruned}, runPending},
	{cancel, []trellisv1.RunState{runPending, runLeased}, runCanceled},
}}

// A worker that is not in the table is in the state UNSPECIFIED. It may be registered as DRAINING: it says hello to a
// coordinator that has lost its memory, or that it has been silent to.
var workerMachine = machine[trellisv1.WorkerState]{"worker", []transition[trellisv1.WorkerState]{
	{register, []trellisv1.WorkerState{workerUnknown, workerReady, workerLost}, workerReady},
	{drain, []trellisv1.WorkerState{workerUnknown, workerReady, workerDraining, workerLost}, workerDraining},
	{lose, []trellisv1.WorkerState{workerReady, workerDraining}, workerLost},
	{dismiss, []trellisv1.WorkerState{workerReady, workerDraining}, workerGone},
}}

// The states, by the names that this package calls them.
const (
	studyRunning   = trellisv1.StudyState_STUDY_STATE_RUNNING
	studyPaused    = trellisv1.StudyState_STUDY_STATE_PAUSED
	studyCompleted = trellisv1.StudyState_STUDY_STATE_COMPLETED
	studyCanceled  = trellisv1.StudyState_STUDY_STATE_CANCELED

	runPending   = trellisv1.RunState_RUN_STATE_PENDING
	runLeased    = trellisv1.RunState_RUN_STATE_LEASED
	runSucceeded = trellisv1.RunState_RUN_STATE_SUCCEEDED
	runFailed    = trellisv1.RunState_RUN_STATE_FAILED
	runCanceled  = trellisv1.RunState_RUN_STATE_CANCELED
	runPruned    = trellisv1.RunState_RUN_STATE_PRUNED

	trialPending   = trellisv1.TrialState_TRIAL_STATE_PENDING
	trialRunning   = trellisv1.TrialState_TRIAL_STATE_RUNNING
	trialSucceeded = trellisv1.TrialState_TRIAL_STATE_SUCCEEDED
	trialFailed    = trellisv1.TrialState_TRIAL_STATE_FAILED
	trialCanceled  = trellisv1.TrialState_TRIAL_STATE_CANCELED
	trialPruned    = trellisv1.TrialState_TRIAL_STATE_PRUNED

	workerUnknown  = trellisv1.WorkerState_WORKER_STATE_UNSPECIFIED
	workerReady    = trellisv1.WorkerState_WORKER_STATE_READY
	workerDraining = trellisv1.WorkerState_WORKER_STATE_DRAINING
	workerLost     = trellisv1.WorkerState_WORKER_STATE_LOST
	workerGone     = trellisv1.WorkerState_WORKER_STATE_GONE
)

// stateName is a state's name as users read and write it: "succeeded" for TRIAL_STATE_SUCCEEDED.
func stateName(state fmt.Stringer) string {
	name := state.String()
	if i := strings.Index(name, "_STATE_"); i >= 0 {
		name = name[i+len("_STATE_"):]
	}
	return strings.ToLower(name)
}
