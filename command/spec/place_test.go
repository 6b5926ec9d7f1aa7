package spec

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
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

// What is wrong with the default of an axis stands at the data, not at the axis that happens to be its first.
func TestPlaceOfAxes(t *testing.T) {
	const top = "name: a\nmodel: conv-autoencoder\ndata: here\n"
	const block = top + "grid:\n  latent_dim: [4, 8]\n  learning_rate: 1e-3\n  max_epochs: 1\n"
	for _, test := range []struct {
		text, axis string
		value      float64
		want       string
	}{
		{block, "depth", 3, "<stdin>:3:7: depth: 3 (the grid has no depth) does not fit"},
		{block + "  depth: 3\n", "depth", 3, "<stdin>:8:10: depth: 3 does not fit"},
		{block, "latent_dim", 8, "<stdin>:5:19: latent_dim: 8 does not fit"},
		{top + "grid: {latent_dim: 4, learning_rate: 1e-3, max_epochs: 1}\n", "depth", 3, "<stdin>:3:7: depth: 3 (the grid has no depth) does not fit"},
	} {
		file, err := Read("-", strings.NewReader(test.text))
		if err != nil {
			t.Fatal(err)
		}
		models := Models()
		_, _, err = models.Sizes(t.Context(), func(_ string, _ *trellisv1.ModelInput, p *trellisv1.Parameters) (grid.Size, error) {
			if p.Numeric(test.axis) == test.value {
				return grid.Size{}, errors.New("too much")
			}
			return grid.Size{Weights: 1}, nil
		}, models.WithDefaults(file.Spec), &trellisv1.DataSet{Name: "here", Height: 28, Width: 28, TrainImages: 12})
		if err = file.Place(err); !strings.HasPrefix(fmt.Sprint(err), test.want) {
			t.Errorf("%s is placed at %v, want %s", test.axis, err, test.want)
		}
	}
}
