package program

import (
	"fmt"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
)

// Kind says what went wrong with an attempt.
type Kind int

// The kinds of Error.
const (
	// Broken means that the worker could not run the program: its disk is full, or it can't start processes.
	Broken Kind = iota + 1
	// NoCommand means that the command does not exist on this worker, or is not for its kind of machine.
	NoCommand
	// BadCommand means that the command, its arguments or files can't be run by any worker.
	BadCommand
	// BadReport means that a report is not what the protocol says.
	BadReport
	// BadCheckpoint means that a reported checkpoint can't be packed.
	BadCheckpoint
	// NoReports means that the program exited with code 0 and has reported nothing.
	NoReports
	// BadResume means that the checkpoint to resume from can't be unpacked.
	BadResume
	// Unfinished means that the program exited with code 0 before its last epoch.
	Unfinished
	// NoObjective means that the program never reported the metric that the objective names.
	NoObjective
	// Exited means that it exited with another code than 0 and 75.
	Exited
	// Killed means that a signal ended it, and it was not sent from here.
	Killed
	// OutOfMemory means that it used more memory than it may, or than the machine has.
	OutOfMemory
	// OutOfTime means that it ran longer than it may.
	OutOfTime
)

// Error says why an attempt failed.
type Error struct {
	Kind Kind
	// Message says what happened, in lower case and without the last lines.
	Message string
	// Line is the number of the line that was wrong, from 1: in the reports file or, with a pattern, in the output.
	Line int
	// Code is the exit code and Signal the number of the signal that ended the program, where it matters.
	Code, Signal int
	// Limit is what it exceeded and Used what it used: bytes or, with OutOfTime, nanoseconds.
	Limit, Used uint64
	// Output are the last lines that the program wrote: at most 20, and at most 4 KiB. Control characters are as they
	// were.
	Output []string
	// Err is the cause, if another error is.
	Err error
}

// Error returns the message and the last lines of output.
func (e *Error) Error() string {
	if len(e.Output) == 0 {
		return e.Message
	}
	return fmt.Sprintf("%s; its last output:\n%s", e.Message, strings.Join(e.Output, "\n"))
}

func (e *Error) Unwrap() error { return e.Err }

// Class returns how the coordinator counts the failure.
func (e *Error) Class() trellisv1.FailureClass {
	switch e.Kind {
	case Broken:
		return trellisv1.FailureClass_FAILURE_CLASS_WORKER
	case BadCommand, BadReport, NoReports, NoObjective:
		return trellisv1.FailureClass_FAILURE_CLASS_INPUT
	case OutOfMemory:
		return trellisv1.FailureClass_FAILURE_CLASS_OUT_OF_MEMORY
	default:
		// NoCommand too: another worker may have it. If none has, the run fails when it was tried often enough.
		return trellisv1.FailureClass_FAILURE_CLASS_TRAINER
	}
}
