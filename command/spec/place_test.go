package spec

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/results/grid"
)

// What a coordinator finds wrong with a spec is placed like what is found when it is read; other errors stay.
func TestPlace(t *testing.T) {
	file, err := Read("-", strings.NewReader("name: a\nmodel: conv-autoencoder\ndata: here\n"+
		"grid: {latent_dim: 4, learning_rate: 1e-3, max_epochs: 1}\n"))
	if err != nil {
		t.Fatal(err)
	}
	broken := grid.Refuse("data.unknown", "there is no such data", "data")
	invalid, ok := errors.AsType[*protovalidate.ValidationError](broken)
	if !ok {
		t.Fatal(broken)
	}
	answer, err := status.New(codes.InvalidArgument, "data: there is no such data").WithDetails(invalid.ToProto())
	if err != nil {
		t.Fatal(err)
	}
	const want = "<stdin>:3:7: there is no such data\n    3 | data: here"
	for _, err := range []error{broken, answer.Err(), fmt.Errorf("submit: %w", answer.Err())} {
		if got := file.Place(err); !strings.HasPrefix(fmt.Sprint(got), want) {
			t.Errorf("%v is placed as %v, want %s", err, got, want)
		}
	}
	for _, err := range []error{nil, errors.New("other"), status.Error(codes.InvalidArgument, "plain")} {
		if got := file.Place(err); got != err {
			t.Errorf("%v is placed as %v", err, got)
		}
	}
}
