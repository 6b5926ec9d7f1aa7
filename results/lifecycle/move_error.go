package lifecycle

import (
	"fmt"
	"strings"
)

// MoveError is an ErrIllegalMove: what is in this state can't do this.
type MoveError struct {
	// Noun is what it is, a study for example, and Name which one; empty if whoever asks knows.
	Noun, Name string
	// State is the one that it is in, and From those in which the event may happen.
	State string
	From  []string
	Event string
}

// unspecified is the name of the state of what does not exist.
const unspecified = "unspecified"

// done says of an event that it has happened.
var done = map[string]string{
	Pause: "paused", Resume: "resumed", Cancel: "canceled", Complete: "completed", Reopen: "extended or retried",
	Grant: "granted", Release: "released", Succeed: "completed", Fail: "failed", Learn: "completed", Lengthen: "lengthened",
	Retry: "retried", Hold: "pruned", Promote: "promoted", Register: "registered", Drain: "drained", Lose: "lost",
	Dismiss: "dismissed",
}

// Error says what the state is and what would be right: study "paper" is completed: only a running study can be paused.
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

// Unwrap makes it an ErrIllegalMove.
func (e *MoveError) Unwrap() error { return ErrIllegalMove }

// Of returns the error with the name of what it is about.
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
