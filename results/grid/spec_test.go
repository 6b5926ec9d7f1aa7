package grid

import (
	"math"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// TestSeeds: those of a list and of every kind of range, ascending.
func TestSeeds(t *testing.T) {
	for _, test := range []struct {
		axis *trellisv1.IntegerAxis
		want []uint32
	}{
		{nil, []uint32{1}},
		{&trellisv1.IntegerAxis{Values: []uint32{3, 1, 2}}, []uint32{1, 2, 3}},
		{
			&trellisv1.IntegerAxis{Linear: &trellisv1.Range{From: 0, To: 4294967295, Count: 4}},
			[]uint32{0, 1431655765, 2863311530, 4294967295},
		},
		{&trellisv1.IntegerAxis{Log2: &trellisv1.Range{From: 1, To: 8, Count: 4}}, []uint32{1, 2, 4, 8}},
		{
			&trellisv1.IntegerAxis{Log10: &trellisv1.Range{From: 1, To: 1e9, Count: 10}},
			[]uint32{1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000},
		},
	} {
		if got := Seeds(&trellisv1.StudySpec{Seeds: test.axis}); !slices.Equal(got, test.want) {
			t.Errorf("%v: %v, want %v", test.axis, got, test.want)
		}
	}
}

// TestRepetitions: what a spec leaves out has one value.
func TestRepetitions(t *testing.T) {
	for want, spec := range map[uint64]*trellisv1.StudySpec{
		1: {},
		3: {Seeds: &trellisv1.IntegerAxis{Values: []uint32{4, 5, 6}}},
		8: {
			Seeds:     &trellisv1.IntegerAxis{Linear: &trellisv1.Range{From: 1, To: 4, Count: 4}},
			BatchSize: &trellisv1.IntegerAxis{Values: []uint32{128, 256}},
		},
	} {
		if got := Repetitions(spec); got != want {
			t.Errorf("%v: %d, want %d", spec, got, want)
		}
	}
}

// TestRangeOf: the first grid with a range on the axis says how it is spaced.
func TestRangeOf(t *testing.T) {
	ends := &trellisv1.Range{From: 1, To: 8, Count: 2}
	spec := &trellisv1.StudySpec{Grid: []*trellisv1.Grid{
		{
			LatentDim:    &trellisv1.IntegerAxis{Values: []uint32{4}},
			LearningRate: &trellisv1.NumberAxis{Log10: ends},
			Axes:         map[string]*trellisv1.NumberAxis{"noise": {Linear: ends}},
		},
		{
			LatentDim:    &trellisv1.IntegerAxis{Log2: ends},
			LearningRate: &trellisv1.NumberAxis{Linear: ends},
			WeightDecay:  &trellisv1.NumberAxis{Values: []float64{0, 1}},
		},
	}}
	for axis, want := range map[string][2]bool{
		"latent_dim": {true, true}, "learning_rate": {true, true}, "weight_decay": {false, false}, "max_epochs": {
			false,
			false,
		},
		"noise": {false, true}, "blur": {false, false},
	} {
		if logarithmic, ranged := RangeOf(spec, axis); [2]bool{logarithmic, ranged} != want {
			t.Errorf("%s: logarithmic %v, a range %v; want %v", axis, logarithmic, ranged, want)
		}
	}
}

// TestCommonAxes: their bounds are those that the rules of the messages state.
func TestCommonAxes(t *testing.T) {
	for _, axis := range CommonAxes {
		for _, test := range []struct {
			value float64
			valid bool
		}{
			{axis.Minimum, !axis.ExclusiveMinimum},
			{axis.Maximum, true},
			{axis.Maximum + 1, false},
			{axis.Minimum + 1, true},
		} {
			if test.value > math.MaxUint32 {
				continue // No message has it.
			}
			spec := newSpec()
			axis.Put(axis.holders(spec)[0], axis.With(test.value))
			if err := testModels.Validate(spec); (err == nil) != test.valid {
				t.Errorf("%s of %v: %v, want valid: %v", axis.Name, test.value, err, test.valid)
			}
		}
	}
}

// TestCommonAxesAreComplete: what a point has but for the axes of a model is in the table, in the order of the digits,
// and every message that has axes has it.
func TestCommonAxesAreComplete(t *testing.T) {
	var names []string
	for place, axis := range CommonAxes {
		names = append(names, axis.GetName())
		axis.Of(new(trellisv1.ExtendStudyRequest)) // Panics without the field.
		holders := axis.holders(&trellisv1.StudySpec{Grid: []*trellisv1.Grid{{}}})
		axis.Of(holders[0])
		if axis.Later && axis.Default == nil {
			t.Errorf("%s came later, and has no default", axis.GetName())
		}
		p := new(trellisv1.Parameters)
		before := RunID(&trellisv1.RunConfig{Parameters: p})
		axis.Set(p, 3)
		key := KeyOf(p)
		if axis.Value(p) != 3 || key.At(place) != 3 || !proto.Equal(key.Parameters(nil), p) {
			t.Errorf("%s: set to 3, it is %v, and %v in the key", axis.GetName(), axis.Value(p), key.At(place))
		}
		if same := RunID(&trellisv1.RunConfig{Parameters: p}) == before; same != (place == MaxEpochs) {
			t.Errorf("%s: the same run with another value: %v", axis.GetName(), same)
		}
	}
	if place := len(CommonAxes) - 1; place != Seed {
		t.Errorf("the last of %v is not the seed", names)
	}
	fields := new(trellisv1.Parameters).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if name := string(fields.Get(i).Name()); name != "values" && !slices.Contains(names, name) {
			t.Errorf("a point has %s, which is not among %v", name, names)
		}
	}
}
