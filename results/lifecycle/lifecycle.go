package lifecycle

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
)

// ErrIllegalMove means that a state machine has no such transition from its current state.
var ErrIllegalMove = errors.New("illegal move")

// transition is one transition of a state machine: an event that leads from any of its sources to one destination.
type transition[State comparable] struct {
	event string
	from  []State
	to    State
}

// Machine is a state machine as a value: its transitions. Everything else is an illegal move.
type Machine[State interface {
	comparable
	fmt.Stringer
}] struct {
	// noun says what the states belong to, for errors.
	noun        string
	transitions []transition[State]
}

// Next returns the state to which the event leads from a state, or ErrIllegalMove.
func (m Machine[State]) Next(from State, event string) (State, error) {
	for _, t := range m.transitions {
		if t.event == event && slices.Contains(t.from, from) {
			return t.to, nil
		}
	}
	move := &MoveError{Noun: m.noun, State: Name(from), Event: event}
	for _, t := range m.transitions {
		for _, source := range t.from {
			if name := Name(source); t.event == event && name != unspecified && !slices.Contains(move.From, name) {
				move.From = append(move.From, name)
			}
		}
	}
	return from, move
}

// Must is like Next, but panics if the move is illegal. Use it for moves that are known to be legal.
func (m Machine[State]) Must(from State, event string) State {
	to, err := m.Next(from, event)
	if err != nil {
		panic("lifecycle: " + err.Error())
	}
	return to
}

// The events: see the package documentation.
const (
	Pause    = "pause"
	Resume   = "resume"
	Cancel   = "cancel"
	Complete = "complete"
	Reopen   = "reopen"
	Grant    = "grant"
	Release  = "release"
	Succeed  = "succeed"
	Fail     = "fail"
	Refuse   = "refuse"
	Learn    = "learn"
	Lengthen = "lengthen"
	Retry    = "retry"
	Hold     = "hold"
	Promote  = "promote"
	Audit    = "audit"
	Overturn = "overturn"
	TakeBack = "take back"
	Register = "register"
	Drain    = "drain"
	Lose     = "lose"
	Dismiss  = "dismiss"
)

// Study is the life cycle of a study.
var Study = Machine[trellisv1.StudyState]{"study", []transition[trellisv1.StudyState]{
	{Pause, []trellisv1.StudyState{StudyRunning}, StudyPaused},
	{Resume, []trellisv1.StudyState{StudyPaused}, StudyRunning},
	{Cancel, []trellisv1.StudyState{StudyRunning, StudyPaused}, StudyCanceled},
	{Complete, []trellisv1.StudyState{StudyRunning}, StudyCompleted},
	{Reopen, []trellisv1.StudyState{StudyCompleted, StudyRunning}, StudyRunning},
	{Reopen, []trellisv1.StudyState{StudyPaused}, StudyPaused},
}}

// Run is the life cycle of a run.
var Run = Machine[trellisv1.RunState]{"run", []transition[trellisv1.RunState]{
	{Grant, []trellisv1.RunState{RunPending}, RunLeased},
	{Release, []trellisv1.RunState{RunLeased}, RunPending},
	{Audit, []trellisv1.RunState{RunSucceeded}, RunSucceeded},
	{Release, []trellisv1.RunState{RunSucceeded}, RunSucceeded},
	{Overturn, []trellisv1.RunState{RunSucceeded, RunLeased}, RunLeased},
	{TakeBack, []trellisv1.RunState{RunSucceeded, RunPruned}, RunPending},
	{Succeed, []trellisv1.RunState{RunLeased}, RunSucceeded},
	{Fail, []trellisv1.RunState{RunLeased}, RunFailed},
	{Refuse, []trellisv1.RunState{RunPending}, RunFailed},
	{Learn, []trellisv1.RunState{RunPending}, RunSucceeded},
	{Lengthen, []trellisv1.RunState{RunSucceeded}, RunPending},
	{Retry, []trellisv1.RunState{RunFailed, RunPruned}, RunPending},
	{Hold, []trellisv1.RunState{RunPending}, RunPruned},
	{Promote, []trellisv1.RunState{RunPruned}, RunPending},
	{Cancel, []trellisv1.RunState{RunPending, RunLeased}, RunCanceled},
	{Reopen, []trellisv1.RunState{RunCanceled}, RunPending},
}}

// Worker is the life cycle of a worker. A worker that is not in the table has the state UNSPECIFIED. It may register as
// DRAINING, if the coordinator has lost its state or has considered the worker lost.
var Worker = Machine[trellisv1.WorkerState]{"worker", []transition[trellisv1.WorkerState]{
	{Register, []trellisv1.WorkerState{WorkerUnknown, WorkerReady, WorkerLost}, WorkerReady},
	{Drain, []trellisv1.WorkerState{WorkerUnknown, WorkerReady, WorkerDraining, WorkerLost}, WorkerDraining},
	{Lose, []trellisv1.WorkerState{WorkerReady, WorkerDraining}, WorkerLost},
	{Dismiss, []trellisv1.WorkerState{WorkerReady, WorkerDraining}, WorkerGone},
}}

// The states.
const (
	StudyRunning   = trellisv1.StudyState_STUDY_STATE_RUNNING
	StudyPaused    = trellisv1.StudyState_STUDY_STATE_PAUSED
	StudyCompleted = trellisv1.StudyState_STUDY_STATE_COMPLETED
	StudyCanceled  = trellisv1.StudyState_STUDY_STATE_CANCELED

	RunPending   = trellisv1.RunState_RUN_STATE_PENDING
	RunLeased    = trellisv1.RunState_RUN_STATE_LEASED
	RunSucceeded = trellisv1.RunState_RUN_STATE_SUCCEEDED
	RunFailed    = trellisv1.RunState_RUN_STATE_FAILED
	RunCanceled  = trellisv1.RunState_RUN_STATE_CANCELED
	RunPruned    = trellisv1.RunState_RUN_STATE_PRUNED

	TrialPending   = trellisv1.TrialState_TRIAL_STATE_PENDING
	TrialRunning   = trellisv1.TrialState_TRIAL_STATE_RUNNING
	TrialSucceeded = trellisv1.TrialState_TRIAL_STATE_SUCCEEDED
	TrialFailed    = trellisv1.TrialState_TRIAL_STATE_FAILED
	TrialCanceled  = trellisv1.TrialState_TRIAL_STATE_CANCELED
	TrialPruned    = trellisv1.TrialState_TRIAL_STATE_PRUNED
	// TrialDiverged is only presented, never stored: see trajectory.Presented.
	TrialDiverged = trellisv1.TrialState_TRIAL_STATE_DIVERGED

	WorkerUnknown  = trellisv1.WorkerState_WORKER_STATE_UNSPECIFIED
	WorkerReady    = trellisv1.WorkerState_WORKER_STATE_READY
	WorkerDraining = trellisv1.WorkerState_WORKER_STATE_DRAINING
	WorkerLost     = trellisv1.WorkerState_WORKER_STATE_LOST
	WorkerGone     = trellisv1.WorkerState_WORKER_STATE_GONE
)

// StudyEnded says whether a study in this state has ended. It can still be extended or retried.
func StudyEnded(state trellisv1.StudyState) bool {
	return state == StudyCompleted || state == StudyCanceled
}

// RunEnded says whether a run in this state has ended. It can still be extended, promoted or retried.
func RunEnded(state trellisv1.RunState) bool { return state != RunPending && state != RunLeased }

// Name returns a state's name as users read and write it: "succeeded" for TRIAL_STATE_SUCCEEDED.
func Name(state fmt.Stringer) string {
	name := state.String()
	if i := strings.Index(name, "_STATE_"); i >= 0 {
		name = name[i+len("_STATE_"):]
	}
	return strings.ToLower(name)
}
