package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/exit"
	"trellis/command/source"
	"trellis/command/studies"
	trellisv1 "trellis/proto/trellis/v1"
)

// What listens but is no coordinator is said to be so.
func TestNoCoordinatorButSomethingElse(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "HTTP/1.0 400 Bad Request\r\n\r\n")
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	var stderr string
	var code int
	// A machine that stalls does not find out in so short a time.
	const want = "is not a coordinator"
	for wait := 500 * time.Millisecond; wait < time.Minute && !strings.Contains(stderr, want); wait *= 2 {
		_, stderr, code = trellis(t, "studies", "--coordinator", listener.Addr().String(), "--wait", wait.String())
	}
	if code != exit.Unavailable || !strings.Contains(stderr, want) {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestExitCodes(t *testing.T) {
	for _, test := range []struct {
		err  error
		code int
	}{
		{nil, 0},
		{errors.New("some error"), 1},
		{status.Error(codes.FailedPrecondition, ""), 1},
		{exit.Usagef("wrong flag"), 2},
		{&source.Error{}, 2},
		{errors.Join(&source.Error{}, &source.Error{}), 2},
		{status.Error(codes.InvalidArgument, ""), 2},
		{fmt.Errorf("cannot submit: %w", status.Error(codes.NotFound, "")), 3},
		{status.Error(codes.AlreadyExists, ""), 4},
		{status.Error(codes.Unavailable, ""), 5},
		{fmt.Errorf("%w at x", exit.ErrUnavailable), 5},
		{
			studies.Outcome(&trellisv1.Study{
				State:    trellisv1.StudyState_STUDY_STATE_CANCELED,
				Progress: &trellisv1.Progress{},
			}), 6,
		},
		{studies.Outcome(&trellisv1.Study{Progress: &trellisv1.Progress{TrialsFailed: 1}}), 6},
		{studies.Outcome(&trellisv1.Study{Progress: &trellisv1.Progress{Trials: 1, TrialsSucceeded: 1}}), 0},
		{exit.ErrAgain, 75},
		{exit.ErrInterrupted, 130},
		{context.Canceled, 130},
		{status.Error(codes.Canceled, ""), 130},
	} {
		if got := exit.Code(test.err); got != test.code {
			t.Errorf("%v: exit code %d, want %d", test.err, got, test.code)
		}
		if test.err != nil && !strings.Contains(exit.Help, fmt.Sprintf("\n%5d  ", test.code)) {
			t.Errorf("exit code %d is not documented", test.code)
		}
	}
}
