package exit

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestErrorText(t *testing.T) {
	plain := status.Error(codes.NotFound, "study a: not found")
	for _, test := range []struct {
		err  error
		want string
	}{
		{plain, "study a: not found"},
		{fmt.Errorf("cannot submit: %w", plain), "cannot submit: study a: not found"},
		{
			fmt.Errorf("can't be listed: %w", fmt.Errorf("max retries exhausted: failed after 5 attempts: %w", plain)),
			"can't be listed: study a: not found",
		},
		{errors.New("no status"), "no status"},
	} {
		if got := Text(test.err); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// TestCode: what Help promises, of errors as they come: wrapped, and from the wire.
func TestCode(t *testing.T) {
	wire := func(code codes.Code) error { return fmt.Errorf("get study a: %w", status.Error(code, "as it is")) }
	for _, test := range []struct {
		err  error
		want int
	}{
		{nil, OK},
		{errors.New("something else"), Error},
		{wire(codes.Internal), Error},
		{Usagef("no such flag"), Usage},
		{wire(codes.InvalidArgument), Usage},
		{wire(codes.NotFound), NotFound},
		{wire(codes.AlreadyExists), AlreadyExists},
		{NotFoundf("find data set a"), NotFound},
		{fmt.Errorf("import a: %w", Existsf("it is there")), AlreadyExists},
		{fmt.Errorf("%w at 127.0.0.1:1", ErrUnavailable), Unavailable},
		{wire(codes.Unauthenticated), Denied},
		{wire(codes.PermissionDenied), Denied},
		{wire(codes.Unavailable), Unavailable},
		{wire(codes.DeadlineExceeded), Unavailable},
		{fmt.Errorf("%w: 2 trials failed", ErrIncomplete), Incomplete},
		{fmt.Errorf("watch: %w", ErrInterrupted), Interrupted},
		{fmt.Errorf("watch: %w", context.Canceled), Interrupted},
		{wire(codes.Canceled), Interrupted},
	} {
		if got := Code(test.err); got != test.want {
			t.Errorf("%v ends with %d, want %d", test.err, got, test.want)
		}
	}
}
