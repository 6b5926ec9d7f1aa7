package trajectory

import (
	"math"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// sameAnswer is as proto.Equal, whichever field differs.
func TestSameAnswer(t *testing.T) {
	same := func(what string, a, b *trellisv1.Trial) {
		t.Helper()
		if got, want := sameAnswer(a, b), proto.Equal(a, b); got != want {
			t.Errorf("%s: %v, want %v, of\n%v\n%v", what, got, want, a, b)
		}
	}
	numbers := []float64{0, math.Copysign(0, -1), 1, math.NaN(), math.Float64frombits(0x7ff8000000000001), math.Inf(1)}
	for _, a := range numbers {
		for _, b := range numbers {
			same("objective", &trellisv1.Trial{Objective: &a}, &trellisv1.Trial{Objective: &b})
			same("metrics", &trellisv1.Trial{Metrics: map[string]float64{"a": a}},
				&trellisv1.Trial{Metrics: map[string]float64{"a": b}})
		}
		same("unset", &trellisv1.Trial{Objective: &a}, &trellisv1.Trial{})
	}
	whole := func() *trellisv1.Trial {
		return &trellisv1.Trial{
			Study: "study", Index: 1, Parameters: &trellisv1.Parameters{MaxEpochs: 2}, Run: "run", State: 3,
			Objective: proto.Float64(4), BestEpoch: 5, Epochs: 6, TestLoss: proto.Float64(7), Error: "error",
			TrainLoss: []float64{8}, ValidationLoss: []float64{9}, Metrics: map[string]float64{"a": 10},
			TestMetrics: map[string]float64{"b": 11}, EpochMetrics: map[string]*trellisv1.Series{"c": {}},
		}
	}
	fields := whole().ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if !whole().ProtoReflect().Has(field) {
			t.Errorf("the test does not set %s", field.Name())
		}
		without := whole()
		without.EpochMetrics = nil // Stored results have none.
		other := proto.CloneOf(without)
		same("nothing", without, other)
		if field.Name() == "epoch_metrics" {
			other.EpochMetrics = whole().EpochMetrics
		} else {
			other.ProtoReflect().Clear(field)
		}
		same("without "+string(field.Name()), without, other)
		same(string(field.Name())+" more", other, without)
	}
}
