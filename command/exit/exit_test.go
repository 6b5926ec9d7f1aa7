package exit

import (
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
		{errors.New("no status"), "no status"},
	} {
		if got := Text(test.err); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}
