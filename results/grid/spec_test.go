//go:build !race

package grid

import (
	"slices"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// TestSeeds: those of a list and of every kind of range, ascending.
func TestSeeds(t *testing.T) {
	for _, test := range []struct {
		axis *trellisv1.Axis
		want []uint32
	}{
		{nil, []uint32{1}},
		{trellisv1.AxisOf[int](3, 1, 2), []uint32{1, 2, 3}},
		{
			&trellisv1.Axis{Linear: &trellisv1.Range{From: 0, To: 4294967295, Count: 4}},
			[]uint32{0, 1431655765, 2863311530, 4294967295},
		},
		{&trellisv1.Axis{Log2: &trellisv1.Range{From: 1, To: 8, Count: 4}}, []uint32{1, 2, 4, 8}},
		{
			&trellisv1.Axis{Log10: &trellisv1.Range{From: 1, To: 1e9, Count: 10}},
			[]uint32{1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000},
		},
	} {
		if got := SeedsOf(&trellisv1.StudySpec{Seeds: test.axis}); !slices.Equal(got, test.want) {
			t.Errorf("%v: %v, want %v", test.axis, got, test.want)
		}
	}
}

// TestRepetitions: what a spec leaves out has one value.
func TestRepetitions(t *testing.T) {
	for want, spec := range map[uint64]*trellisv1.StudySpec{
		1: {},
		3: {Seeds: trellisv1.AxisOf[int](4, 5, 6)},
		4: {Seeds: &trellisv1.Axis{Linear: &trellisv1.Range{From: 1, To: 4, Count: 4}}},
	} {
		if got := Repetitions(spec); got != want {
			t.Errorf("%v: %d, want %d", spec, got, want)
		}
	}
}

// TestLongestOf: of each grid, from a list, a range, what is fixed, or a program's default.
func TestLongestOf(t *testing.T) {
	grids := func(axes ...*trellisv1.Axis) (grids []*trellisv1.Grid) {
		for _, axis := range axes {
			grids = append(grids, &trellisv1.Grid{Axes: map[string]*trellisv1.Axis{MaxEpochs: axis}})
		}
		return grids
	}
	for _, test := range []struct {
		spec *trellisv1.StudySpec
		want []uint32
	}{
		{
			&trellisv1.StudySpec{Grid: grids(trellisv1.AxisOf(5, 20, 10), &trellisv1.Axis{
				Log2: &trellisv1.Range{From: 1, To: 8, Count: 4},
			})},
			[]uint32{20, 8},
		},
		{
			&trellisv1.StudySpec{
				Grid: []*trellisv1.Grid{{}}, Fixed: map[string]*trellisv1.Value{MaxEpochs: trellisv1.IntegerValue(7)},
			},
			[]uint32{7},
		},
		{&trellisv1.StudySpec{Grid: []*trellisv1.Grid{{}}, Program: &trellisv1.Program{}}, []uint32{1}},
	} {
		if got := LongestOf(test.spec); !slices.Equal(got, test.want) {
			t.Errorf("%v: %v, want %v", test.spec, got, test.want)
		}
	}
}

// TestRangeOf: the first grid with a range on the axis says how it is spaced.
func TestRangeOf(t *testing.T) {
	ends := &trellisv1.Range{From: 1, To: 8, Count: 2}
	spec := &trellisv1.StudySpec{Grid: []*trellisv1.Grid{
		{Axes: map[string]*trellisv1.Axis{
			"noise": {Linear: ends}, "latent_dim": trellisv1.AxisOf[int](4), "learning_rate": {Log10: ends},
		}},
		{Axes: map[string]*trellisv1.Axis{
			"latent_dim":    {Log2: ends},
			"learning_rate": {Linear: ends},
			"weight_decay":  trellisv1.AxisOf[float64](0, 1),
		}},
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
