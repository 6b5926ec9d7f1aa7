package lifecycle

import (
	"fmt"
	"strings"
)

// MoveError is an ErrIllegalMove with details: which state does not allow which event.
type MoveError struct {
	// Noun says what can't move, for example a study, and Name which one. Name is empty if the caller knows it.
	Noun, Name string
	// State is its current state, and From has the states in which the event is allowed.
	State string
	From  []string
	Event string
}

// unspecified is the name of the state of what does not exist.
const unspecified = "unspecified"

// done has the past participle of each event.
var done = map[string]string{
	Pause: "paused", Resume: "resumed", Cancel: "canceled", Complete: "completed", Reopen: "extended or retried",
	Grant: "granted", Release: "released", Succeed: "completed", Fail: "failed", Learn: "completed", Lengthen: "lengthened",
	Retry: "retried", Hold: "pruned", Promote: "promoted", Register: "registered", Drain: "drained", Lose: "lost",
	Dismiss: "dismissed",
}

// Error says what the state is and what would be allowed: study "paper" is completed: only a running study can be
// paused.
func (e *MoveError) Error() string {
	subject := "the " + e.Noun
	if e.Name != "" {
		subject = fmt.Sprintf("%s %q", e.Noun, e.Name)
	}
	text := fmt.Sprintf("%s is %s", subject, e.State)
	if len(e.From) == 0 {
		return text
	}
	return fmt.Sprintf("%s: only a %s %s can be %s", text, alternatives(e.From), e.Noun, done[e.Event])
}

// Unwrap returns ErrIllegalMove.
func (e *MoveError) Unwrap() error { return ErrIllegalMove }

// Of returns the error with the name of what can't move.
func (e *MoveError) Of(name string) *MoveError {
	named := *e
	named.Name = name
	return &named
}

// alternatives writes states as "running, paused or completed".
func alternatives(states []string) string {
	last := len(states) - 1
	if last == 0 {
		return states[0]
	}
	return strings.Join(states[:last], ", ") + " or " + states[last]
}
