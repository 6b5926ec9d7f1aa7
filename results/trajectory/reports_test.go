package trajectory

import (
	"math"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

func TestContradiction(t *testing.T) {
	otherNaN := math.Float64frombits(math.Float64bits(math.NaN()) ^ 1)
	losses := &trellisv1.Losses{
		TrainLoss: []float64{1, math.NaN(), 0}, ValidationLoss: []float64{0.5, math.Inf(1), 0.25},
		TestLoss: map[uint32]float64{1: 0.4, 3: math.NaN()},
	}
	for name, test := range map[string]struct {
		epoch             uint32
		train, validation float64
		test              *float64
		same              bool
	}{
		"same":               {1, 1, 0.5, proto.Float64(0.4), true},
		"without test loss":  {1, 1, 0.5, nil, true},
		"other train":        {1, 2, 0.5, nil, false},
		"other validation":   {1, 1, math.Nextafter(0.5, 1), nil, false},
		"other test":         {1, 1, 0.5, proto.Float64(0.5), false},
		"NaN":                {2, math.NaN(), math.Inf(1), nil, true},
		"another NaN":        {2, otherNaN, math.Inf(1), nil, true},
		"a number for NaN":   {2, 1, math.Inf(1), nil, false},
		"other infinity":     {2, math.NaN(), math.Inf(-1), nil, false},
		"test loss is new":   {2, math.NaN(), math.Inf(1), proto.Float64(1), true},
		"negative zero":      {3, math.Copysign(0, -1), 0.25, nil, false},
		"NaN for test":       {3, 0, 0.25, &otherNaN, true},
		"a number for test":  {3, 0, 0.25, proto.Float64(1), false},
		"NaN for validation": {3, 0, math.NaN(), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			reports := &trellisv1.Reports{
				FirstEpoch: test.epoch, TrainLoss: []float64{test.train}, ValidationLoss: []float64{test.validation},
				Seconds: []float64{1},
			}
			if test.test != nil {
				reports.TestLoss = map[uint32]float64{test.epoch: *test.test}
			}
			_, err := (&Trajectory{Losses: losses}).Contradiction(reports, 1)
			if (err == nil) != test.same {
				t.Errorf("%v, want the same: %v", err, test.same)
			}
		})
	}
}
