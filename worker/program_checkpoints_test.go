package worker

import (
	"math"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

func TestBestEpoch(t *testing.T) {
	const (
		maximize = trellisv1.Direction_DIRECTION_MAXIMIZE
		last     = trellisv1.Objective_SUMMARY_LAST
	)
	nan := math.NaN()
	for name, test := range map[string]struct {
		objective *trellisv1.Objective
		values    []float64
		missing   []uint32
		want      int
	}{
		"lowest":            {&trellisv1.Objective{Metric: "m"}, []float64{3, 1, 2, 1}, nil, 2},
		"highest":           {&trellisv1.Objective{Metric: "m", Direction: maximize}, []float64{3, 1, 4, 4}, nil, 3},
		"the last counts":   {&trellisv1.Objective{Metric: "m", Of: last}, []float64{1, 3, 2}, nil, 3},
		"no numbers":        {&trellisv1.Objective{Metric: "m"}, []float64{nan, nan}, nil, 0},
		"some not reported": {&trellisv1.Objective{Metric: "m"}, []float64{0, 3, 0, 2}, []uint32{0, 2}, 4},
	} {
		best := bestEpoch{objective: test.objective}
		best.recall(map[string]*trellisv1.Series{"m": {Values: test.values, Missing: test.missing}}, len(test.values))
		if best.epoch != test.want {
			t.Errorf("%s: it is epoch %d, want %d", name, best.epoch, test.want)
		}
		// A second look at the same epoch changes nothing.
		best.observe(len(test.values), map[string]float64{"m": -100})
		best.observe(len(test.values), map[string]float64{"m": 100})
		if best.epoch != test.want {
			t.Errorf("%s: it is epoch %d after the last was observed again, want %d", name, best.epoch, test.want)
		}
	}
}
