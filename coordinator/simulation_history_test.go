package coordinator

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"google.golang.org/grpc/codes"

	trellisv1 "trellis/proto/trellis/v1"
)

// checkTimeout is how long finding an order of the operations may take.
const checkTimeout = time.Minute

// studyCall is what a client asks of a study.
type studyCall int

const (
	callCreate studyCall = iota
	callPause
	callResume
	callCancel
	callDelete
	callGet
)

func (c studyCall) String() string {
	return [...]string{"create", "pause", "resume", "cancel", "delete", "get"}[c]
}

// studyInput is an operation on a study, and studyOutput how it ended.
type studyInput struct {
	call  studyCall
	study string
}

type studyOutput struct {
	code  codes.Code
	state trellisv1.StudyState
	// unknown says that nobody knows whether the operation has happened, or whether it still will.
	unknown bool
}

// studyWhen is when an operation was under way.
type studyWhen struct {
	from, to time.Duration
	node     string
}

// history has the operations of all clients.
type history struct {
	// clock orders calls and returns: virtual time does not tell apart what happens at one instant.
	clock atomic.Int64

	mu         sync.Mutex
	operations []porcupine.Operation
	unknown    int
}

// now is a moment later than every one before.
func (h *history) now() int64 { return h.clock.Add(1) }

// add notes an operation.
func (h *history) add(client int, call int64, input studyInput, output studyOutput, when studyWhen) {
	h.mu.Lock()
	defer h.mu.Unlock()
	operation := porcupine.Operation{
		ClientId: client, Input: input, Call: call, Output: output, Return: h.now(), Metadata: when,
	}
	if output.unknown {
		operation.Return = 1 << 62
		h.unknown++
	}
	h.operations = append(h.operations, operation)
}

func (h *history) summary() string {
	return fmt.Sprintf("%d operations, %d of them with an unknown end", len(h.operations), h.unknown)
}

// check fails the test if no order of the operations explains what the clients were told.
func (h *history) check(t *testing.T) {
	byStudy := map[string][]porcupine.Operation{}
	for _, operation := range h.operations {
		study := operation.Input.(studyInput).study
		byStudy[study] = append(byStudy[study], operation)
	}
	for study, operations := range byStudy {
		switch porcupine.CheckOperationsTimeout(studyModel.ToModel(), operations, checkTimeout) {
		case porcupine.Illegal:
			t.Errorf("no order of the operations on study %s explains what clients were told:\n%s", study,
				describe(operations))
		case porcupine.Unknown:
			t.Errorf("found no order of the operations on study %s within %v:\n%s", study, checkTimeout,
				describe(operations))
		}
	}
}

func describe(operations []porcupine.Operation) string {
	slices.SortFunc(operations, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var lines []string
	for _, operation := range operations {
		when, output := operation.Metadata.(studyWhen), operation.Output.(studyOutput)
		answer := fmt.Sprint(output.code)
		if output.state != 0 {
			answer = fmt.Sprint(output.state)
		}
		if output.unknown {
			answer += ", may still happen"
		}
		lines = append(lines, fmt.Sprintf("  %9.3fs to %9.3fs, order %d to %d, client %d at %s: %v: %s",
			when.from.Seconds(), when.to.Seconds(),
			operation.Call, operation.Return, operation.ClientId, when.node, operation.Input.(studyInput).call, answer))
	}
	return strings.Join(lines, "\n")
}

// studyModel is what a study is to its clients: its state, UNSPECIFIED if there is none. A RUNNING study may become
// COMPLETED at any moment.
var studyModel = porcupine.NondeterministicModel{
	Init: func() []any { return []any{trellisv1.StudyState_STUDY_STATE_UNSPECIFIED} },
	Step: func(state, input, output any) (next []any) {
		call, answer := input.(studyInput).call, output.(studyOutput)
		states := []trellisv1.StudyState{state.(trellisv1.StudyState)}
		if states[0] == trellisv1.StudyState_STUDY_STATE_RUNNING {
			states = append(states, trellisv1.StudyState_STUDY_STATE_COMPLETED)
		}
		for _, state := range states {
			after, code := doToStudy(call, state)
			switch {
			case answer.unknown:
				next = append(next, state, after)
			case answer.code == code && (call != callGet || code != codes.OK || answer.state == state):
				next = append(next, after)
			}
		}
		return next
	},
}

// doToStudy is what an operation makes of a study's state, and the code that it ends with.
func doToStudy(call studyCall, state trellisv1.StudyState) (after trellisv1.StudyState, code codes.Code) {
	const (
		none      = trellisv1.StudyState_STUDY_STATE_UNSPECIFIED
		running   = trellisv1.StudyState_STUDY_STATE_RUNNING
		paused    = trellisv1.StudyState_STUDY_STATE_PAUSED
		completed = trellisv1.StudyState_STUDY_STATE_COMPLETED
		canceled  = trellisv1.StudyState_STUDY_STATE_CANCELED
	)
	switch {
	case call == callCreate && state == none:
		return running, codes.OK
	case call == callCreate:
		return state, codes.AlreadyExists
	case state == none:
		return none, codes.NotFound
	case call == callDelete:
		return none, codes.OK
	case call == callGet:
		return state, codes.OK
	}
	ended := state == completed || state == canceled
	switch {
	case call == callCancel && state != completed:
		return canceled, codes.OK
	case ended:
		return state, codes.FailedPrecondition
	case call == callPause:
		return paused, codes.OK
	default:
		return running, codes.OK
	}
}
