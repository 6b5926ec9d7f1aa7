package lattice

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// InOrder has all trials in the order that sorting them gives, from any position on.
func TestInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		study := &trellisv1.Study{Name: "a", Spec: drawSpec(t), Numerics: "1"}
		l, err := New(study)
		if err != nil {
			t.Skip("no runs")
		}
		all := rapid.SampledFrom([]string{"latent_dim", "learning_rate", "max_epochs", "seed", "none"})
		names := rapid.SliceOfN(all, 1, 3).Draw(t, "names")
		coarse := rapid.Uint64Range(1, 3).Draw(t, "coarse")
		var levels []Level
		for _, name := range names {
			levels = append(levels, Level{name, func(point *trellisv1.Parameters) uint64 {
				number, _ := grid.Value(point, name).Numeric()
				if name == "seed" {
					number = float64(point.GetSeed())
				}
				return ^uint64(number*1e3) / coarse
			}})
		}
		var positions [][]uint64
		for place := range l.Runs() {
			for _, index := range l.Indexes(place) {
				position := make([]uint64, len(levels), len(levels)+1)
				for i, level := range levels {
					position[i] = level.Order(l.At(index))
				}
				positions = append(positions, append(position, index))
			}
		}
		slices.SortFunc(positions, slices.Compare)
		from := rapid.IntRange(0, len(positions)).Draw(t, "from")
		var after []uint64
		if from > 0 {
			after = positions[from-1]
		}
		for at := range l.InOrder(levels, after) {
			if from == len(positions) || at.Index != positions[from][len(levels)] {
				t.Fatalf("trial %d after %v, want %v", at.Index, after, positions[min(from, len(positions)-1)])
			}
			place, milestone, ok := l.Find(at.Index)
			if !ok || place != at.Run || milestone != at.Milestone {
				t.Fatalf("trial %d is at %d, %d; want %d, %d", at.Index, at.Run, at.Milestone, place, milestone)
			}
			from++
		}
		if from != len(positions) {
			t.Fatalf("ends after %d of %d trials", from, len(positions))
		}
	})
}

// Before is the inverse of From.
func TestBefore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, err := New(&trellisv1.Study{Name: "a", Spec: drawSpec(t), Numerics: "1"})
		if err != nil {
			t.Skip("no runs")
		}
		var indexes []uint64
		for place := range l.Runs() {
			indexes = append(indexes, l.Indexes(place)...)
		}
		slices.SortFunc(indexes, cmp.Compare)
		for index := range l.Indices() + 2 {
			at, _ := slices.BinarySearch(indexes, index)
			got, ok := l.Before(index)
			if ok != (at > 0) || ok && got != indexes[at-1] {
				t.Fatalf("before %d is %d, %t", index, got, ok)
			}
		}
	})
}

// Where few points are trials, those that are none are not looked at one by one, be it a budget that leaves them out or
// where: here a ten-thousandth of 10^8 points remains, at the first indexes.
func TestFewTrials(t *testing.T) {
	study := gridOf(trellisv1.Order_ORDER_RANDOM, 100, 100, 10_000)
	study.Spec.Where, study.Spec.Budget = "axis_0 == 1 && axis_1 == 1", &trellisv1.Budget{Trials: 20_000}
	descending := []Level{{"axis_0", func(point *trellisv1.Parameters) uint64 {
		number, _ := grid.Value(point, "axis_0").Numeric()
		return 100 - uint64(number)
	}}}
	const limit = 2 * time.Second
	took := time.Hour
	// What else the machine does holds up some of them, what is slow each. Each has a lattice of its own: one remembers
	// what it has found.
	for tries := 0; tries < 5 && took > limit; tries++ {
		began := time.Now()
		l, err := New(study)
		if err != nil {
			t.Fatal(err)
		}
		if last, ok := l.Before(l.Indices()); !ok || last != 9_999 {
			t.Errorf("the last trial is %d, %t", last, ok)
		}
		for at := range l.InOrder(descending, nil) {
			if at.Index != 0 {
				t.Errorf("the first trial is %d", at.Index)
			}
			break
		}
		took = min(took, time.Since(began))
	}
	if took > limit {
		t.Errorf("takes %v", took)
	}
}
