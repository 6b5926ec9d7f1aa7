package lattice

import (
	"fmt"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// gridOf is a study of a product of axes with so many values.
func gridOf(order trellisv1.Order, counts ...uint32) *trellisv1.Study {
	spec := &trellisv1.StudySpec{
		Name: "large", Model: "synthetic", Order: order,
		Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{grid.MaxEpochs: trellisv1.AxisOf(10)}}},
	}
	for i, count := range counts {
		spec.Grid[0].Axes[fmt.Sprintf("axis_%d", i)] = &trellisv1.Axis{
			Linear: &trellisv1.Range{From: 1, To: float64(count), Count: count},
		}
	}
	return &trellisv1.Study{Name: spec.Name, Spec: grid.WithDefaults(spec)}
}

// million is a study of 10^6 runs.
func million(order trellisv1.Order) *trellisv1.Study { return gridOf(order, 100, 100, 100) }

// billions is a study of 10^12 points, of which 1,000 are trained.
func billions() *trellisv1.Study {
	study := gridOf(trellisv1.Order_ORDER_RANDOM, 10_000, 10_000, 10_000)
	study.Spec.Budget = &trellisv1.Budget{Trials: 1000}
	return study
}

// overlapping is a study of 10^6 points, half of which are in both of its grids.
func overlapping() *trellisv1.Study {
	study := gridOf(trellisv1.Order_ORDER_LONGEST, 50, 100, 100)
	other := gridOf(trellisv1.Order_ORDER_LONGEST, 50, 100, 100).Spec.Grid[0]
	other.Axes["axis_0"] = &trellisv1.Axis{Linear: &trellisv1.Range{From: 26, To: 75, Count: 50}}
	study.Spec.Grid = append(study.Spec.Grid, other)
	return study
}

// cases are studies by what a lattice needs for them.
func cases() map[string]*trellisv1.Study {
	where, wide, byID, lengths := million(0), million(0), million(0), gridOf(0, 100, 100, 10)
	where.Spec.Where = "axis_0 < axis_1"
	wide.Spec.Where = "axis_0 + axis_1 < axis_2"
	byID.Spec.Pruning = &trellisv1.Pruning{Method: &trellisv1.Pruning_Asha{Asha: &trellisv1.SuccessiveHalving{}}}
	lengths.Spec.Grid[0].Axes[grid.MaxEpochs] = trellisv1.AxisOf(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
	lengths.Spec.Where = "axis_2 < 5 || max_epochs < 5"
	return map[string]*trellisv1.Study{
		"1e6": million(0), "1e6 random": million(trellisv1.Order_ORDER_RANDOM), "1e12 budget": billions(),
		"1e6 where": where, "1e6 where of all": wide, "1e6 overlapping": overlapping(), "1e6 by id": byID,
		"1e6 where by length": lengths,
	}
}

func BenchmarkNew(b *testing.B) {
	for name, study := range cases() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := New(study); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRun(b *testing.B) { benchmark(b, func(l *Lattice, i uint32) { l.Run(i) }) }
func BenchmarkFind(b *testing.B) {
	benchmark(b, func(l *Lattice, i uint32) { l.Find(uint64(i) * (l.Indices() / uint64(l.Runs()))) })
}

func BenchmarkPlaceOf(b *testing.B) {
	p := map[*Lattice]*trellisv1.Parameters{}
	benchmark(b, func(l *Lattice, i uint32) {
		if p[l] == nil {
			p[l] = l.Run(i).Parameters
		}
		l.PlaceOf(p[l])
	})
}

// benchmark does something with one run after another.
func benchmark(b *testing.B, do func(l *Lattice, place uint32)) {
	for name, study := range cases() {
		b.Run(name, func(b *testing.B) {
			l, err := New(study)
			if err != nil {
				b.Fatal(err)
			}
			place := uint32(0)
			for b.Loop() {
				do(l, place)
				place = (place + 1) % l.Runs()
			}
		})
	}
}

// Reading all ids, which the first call of PlaceOfID does.
func BenchmarkIDs(b *testing.B) {
	l, err := New(million(0))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		l.newIDIndex()
	}
}

// apart are two studies that differ in their seeds alone.
func apart(tb testing.TB) (lattices [2]*Lattice) {
	for i := range lattices {
		study := gridOf(0, 100, 100)
		study.Spec.Seeds = trellisv1.AxisOf(i)
		l, err := New(study)
		if err != nil {
			tb.Fatal(err)
		}
		lattices[i] = l
	}
	return lattices
}

// BenchmarkMayShare compares two studies, as a restart does with every two.
func BenchmarkMayShare(b *testing.B) {
	lattices := apart(b)
	for b.Loop() {
		if lattices[0].MayShare(lattices[1]) {
			b.Fatal("they share runs")
		}
	}
}
