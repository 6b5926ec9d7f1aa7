//go:build !race

package describe

import (
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// A program's grid may have no axis but max_epochs: then there is nothing to name, and no brackets or commas around it.
func TestDescribePointsOfFewAxes(t *testing.T) {
	for _, test := range []struct {
		values           map[string]any
		varied           Axes
		described, point string
	}{
		{nil, Axes{}, "", "maximum epochs 3"},
		{nil, Axes{Seed: true}, " (seed 2)", "seed 2, maximum epochs 3"},
		{
			map[string]any{"batch_size": 32},
			Axes{BatchSize: true, Seed: true},
			" (batch 32, seed 2)", "batch 32, seed 2, maximum epochs 3",
		},
		{map[string]any{"lr": 0.1}, Axes{Seed: true}, " (lr 0.1, seed 2)", "lr 0.1, seed 2, maximum epochs 3"},
	} {
		at := &trellisv1.Parameters{MaxEpochs: 3, Seed: 2, Values: trellisv1.ValuesOf(test.values)}
		if got := InBrackets(Parameters(at, test.varied)); got != test.described {
			t.Errorf("%v: %q, want %q", test.values, got, test.described)
		}
		if got := Point(at, test.varied); got != test.point {
			t.Errorf("%v: %q, want %q", test.values, got, test.point)
		}
	}
}
