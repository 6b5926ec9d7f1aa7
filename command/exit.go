package command

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The exit codes. exitCodesHelp documents them.
const (
	exitOK            = 0
	exitError         = 1
	exitUsage         = 2
	exitNotFound      = 3
	exitAlreadyExists = 4
	exitUnavailable   = 5
	exitIncomplete    = 6
	exitInterrupted   = 130
)

const exitCodesHelp = `Every command ends with one of these codes:

    0  it has done what it was asked to
    1  an error that is none of those below
    2  the command line or a spec is not valid; nothing was changed
    3  there is no such study, trial or node
    4  a study of that name exists already
    5  there is no coordinator at the address, or it does not answer
    6  run, watch, submit --watch: the study has ended without all its trials answered: some
       failed, or it was canceled
  130  interrupted, by Ctrl-C for example
`

var (
	// errUsage marks errors of the person at the keyboard: the command line, or the content of a spec.
	errUsage = errors.New("usage")
	// errUnavailable means that the coordinator could not be reached in time.
	errUnavailable = errors.New("no coordinator")
	// errIncomplete means that a study has ended without all its trials answered.
	errIncomplete = errors.New("study incomplete")
)

// usageError is an errUsage that prints itself as its cause.
type usageError struct{ cause error }

func (e *usageError) Error() string   { return e.cause.Error() }
func (e *usageError) Unwrap() []error { return []error{errUsage, e.cause} }

func usageErrorf(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// exitCode is what the process ends with after err.
func exitCode(err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.Is(err, errIncomplete):
		return exitIncomplete
	case errors.Is(err, errUnavailable):
		return exitUnavailable
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	switch status.Code(err) {
	case codes.InvalidArgument:
		return exitUsage
	case codes.NotFound:
		return exitNotFound
	case codes.AlreadyExists:
		return exitAlreadyExists
	case codes.Unavailable, codes.DeadlineExceeded:
		return exitUnavailable
	case codes.Canceled:
		return exitInterrupted
	default:
		return exitError
	}
}

// errorText is err as people read it: a gRPC status without its wrapping.
func errorText(err error) string {
	text := err.Error()
	var wire interface{ GRPCStatus() *status.Status }
	if errors.As(err, &wire) {
		plain := wire.GRPCStatus()
		text = strings.Replace(text, fmt.Sprintf("rpc error: code = %s desc = ", plain.Code()), "", 1)
		text = strings.TrimPrefix(text, "validation error: ")
	}
	return text
}
