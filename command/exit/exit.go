package exit

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The exit codes. Help documents them.
const (
	OK            = 0
	Error         = 1
	Usage         = 2
	NotFound      = 3
	AlreadyExists = 4
	Unavailable   = 5
	Incomplete    = 6
	Denied        = 7
	Again         = 75
	Interrupted   = 130
)

// Help says what the exit codes mean.
const Help = `Every command exits with one of these codes:

    0  success
    1  any error not listed below
    2  the command line or a spec is invalid; nothing was changed
    3  the study, trial, node or data set was not found
    4  a study or data set with that name already exists
    5  there is no coordinator at the address, or it does not respond
    6  a study that was run or watched has ended without all its results: trials failed, it
       was canceled, or all its trials diverged
    7  the coordinator does not accept the token or certificate, or there is none, or its role is
       not allowed to do this
   75  a worker was told to end before its work was done: start it again to continue
  130  interrupted, for example by Ctrl-C
`

var (
	// ErrUsage marks errors of the person at the keyboard: the command line, or the content of a spec.
	ErrUsage = errors.New("usage")
	// ErrNotFound means that there is nothing of a name.
	ErrNotFound = errors.New("not found")
	// ErrExists means that a name is taken.
	ErrExists = errors.New("already exists")
	// ErrUnavailable means that the coordinator could not be reached in time.
	ErrUnavailable = errors.New("no coordinator")
	// ErrAgain means that a worker was told to end before there was nothing more to do.
	ErrAgain = errors.New("drained: start the worker again to continue")
	// ErrIncomplete means that a study has ended without results for all its trials.
	ErrIncomplete = errors.New("study incomplete")
)

// kindError is an error of a kind, which decides the exit code, that prints itself as its cause.
type kindError struct{ kind, cause error }

func (e *kindError) Error() string { return e.cause.Error() }

func (e *kindError) Unwrap() []error { return []error{e.kind, e.cause} }

// Usagef returns an ErrUsage that prints itself as the text.
func Usagef(format string, args ...any) error {
	return &kindError{ErrUsage, fmt.Errorf(format, args...)}
}

// NotFoundf returns an ErrNotFound that prints itself as the text.
func NotFoundf(format string, args ...any) error {
	return &kindError{ErrNotFound, fmt.Errorf(format, args...)}
}

// Existsf returns an ErrExists that prints itself as the text.
func Existsf(format string, args ...any) error {
	return &kindError{ErrExists, fmt.Errorf(format, args...)}
}

// Code is what the process ends with after err.
func Code(err error) int {
	switch {
	case err == nil:
		return OK
	case errors.Is(err, ErrUsage):
		return Usage
	case errors.Is(err, ErrNotFound):
		return NotFound
	case errors.Is(err, ErrExists):
		return AlreadyExists
	case errors.Is(err, ErrIncomplete):
		return Incomplete
	case errors.Is(err, ErrAgain):
		return Again
	case errors.Is(err, ErrUnavailable):
		return Unavailable
	case errors.Is(err, ErrInterrupted), errors.Is(err, context.Canceled):
		return Interrupted
	}
	switch status.Code(err) {
	case codes.InvalidArgument:
		return Usage
	case codes.NotFound:
		return NotFound
	case codes.AlreadyExists:
		return AlreadyExists
	case codes.Unauthenticated, codes.PermissionDenied:
		return Denied
	case codes.Unavailable, codes.DeadlineExceeded:
		return Unavailable
	case codes.Canceled:
		return Interrupted
	default:
		return Error
	}
}

// retries is what gRPC writes before the status of a call that it has repeated. How often does not tell people what is
// wrong.
var retries = regexp.MustCompile(`max retries exhausted: failed after \d+ attempts: `)

// Text is err as people read it: a gRPC status without its wrapping.
func Text(err error) string {
	text := err.Error()
	var wire interface{ GRPCStatus() *status.Status }
	if errors.As(err, &wire) {
		plain := wire.GRPCStatus()
		text = strings.ReplaceAll(text, fmt.Sprintf("rpc error: code = %s desc = ", plain.Code()), "")
		text = retries.ReplaceAllString(text, "")
		text = strings.TrimPrefix(text, "validation error: ")
	}
	return text
}

// ErrInterrupted means that a signal has ended the command.
var ErrInterrupted = errors.New("interrupted")
