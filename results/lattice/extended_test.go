package lattice

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// A lattice that is extended has the runs and trials that listing gives: those of grid.Expand that the study does not have,
// after those that it has, in their order.
func TestExtendedIsExpand(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		study := &trellisv1.Study{Spec: drawSpec(t), Numerics: "1"}
		study.Name = rapid.StringMatching("[a-z]{1,3}").Draw(t, "name")
		study.Spec.Name = study.Name
		wanted := expand(t, study)
		l, err := New(study)
		if wanted == nil || err != nil {
			t.Skip("no runs")
		}
		spec := study.Spec
		for range rapid.IntRange(1, 3).Draw(t, "extensions") {
			spec = drawExtension(t, spec)
			ordered := !l.whole || grid.Sampled(spec)
			offset := wanted.size
			refused := wanted.extend(t, study, spec, ordered)
			extended, err := l.Extend(spec, offset, spec.Budget, ordered)
			if errors.Is(err, ErrNotIndexed) {
				t.Fatal(err)
			}
			if (err != nil) != refused {
				t.Fatalf("refused: %t, error %v", refused, err)
			}
			if err != nil {
				return
			}
			l = extended
		}
		checkRuns(t, l, wanted)
		checkTrials(t, l, wanted)
		checkPoints(t, l, study, wanted)
		checkBefore(t, l, wanted)
		checkInOrder(t, l)
		checkSpots(t, l)
		checkCount(t, l, wanted)
		if seeds, ok := l.Seeds(); ok {
			t.Fatalf("it says that indexes follow from seeds %v", seeds)
		}
	})
}

// drawExtension adds values to some axes, and raises the budget or drops it.
func drawExtension(t *rapid.T, spec *trellisv1.StudySpec) *trellisv1.StudySpec {
	spec = proto.CloneOf(spec)
	add := func(axis *trellisv1.Axis, label string, values ...float64) *trellisv1.Axis {
		more := axis.GetValues()
		for _, x := range rapid.SliceOfNDistinct(rapid.SampledFrom(values), 0, 2, rapid.ID).Draw(t, label) {
			value := trellisv1.NumberValue(x)
			if !slices.ContainsFunc(more, func(v *trellisv1.Value) bool { return grid.KeyOf(v) == grid.KeyOf(value) }) {
				more = append(more, value)
			}
		}
		return trellisv1.ListOf(more...)
	}
	if rapid.Bool().Draw(t, "more seeds") {
		spec.Seeds = add(spec.Seeds, "seeds", 1, 2, 3, 4)
	}
	for name, values := range map[string][]float64{
		grid.LearningRate: {0.001, 0.01, 0.02, 0.1, 0.2}, grid.MaxEpochs: {1, 2, 3, 4, 5}, "shift": {0, 1, 4, 9},
	} {
		if !rapid.Bool().Draw(t, "more "+name) {
			continue
		}
		for i, g := range spec.Grid {
			if g.Axes[name] != nil {
				g.Axes[name] = add(g.Axes[name], fmt.Sprint(i, " ", name), values...)
			}
		}
	}
	if b := spec.Budget; b != nil {
		switch more := uint64(rapid.IntRange(0, 60).Draw(t, "more budget")); {
		case more > 55:
			spec.Budget = nil
		default:
			if b.Trials > 0 {
				b.Trials += more
			}
			if b.Epochs > 0 {
				b.Epochs += 2 * more
			}
		}
	}
	return spec
}

// extend adds what a larger spec has, and returns whether the budget has no room for what the study's runs get.
func (e *expansion) extend(t *rapid.T, study *trellisv1.Study, spec *trellisv1.StudySpec, ordered bool) (refused bool) {
	g, err := grid.New(spec)
	if err != nil {
		t.Skip(err)
	}
	trials, runs, err := grid.Expand(spec, study.DataSet, study.Numerics, study.Pretrained)
	if err != nil {
		t.Fatal(err)
	}
	of := map[string][]*trellisv1.Trial{}
	for _, trial := range trials {
		trial.Index += e.size
		of[trial.Run] = append(of[trial.Run], trial)
	}
	if len(of) != len(runs) {
		t.Skip("two runs have the same id")
	}
	has := map[string]*trellisv1.Run{}
	spent := [2]uint64{}
	for _, run := range e.runs {
		has[run.Id] = run
		for _, trial := range of[run.Id] {
			if epochs := trial.Parameters.MaxEpochs; !slices.Contains(run.Milestones, epochs) {
				run.Milestones = append(run.Milestones, epochs)
				e.trials[run.Id] = append(e.trials[run.Id], trial)
				e.indexes = append(e.indexes, trial.Index)
			}
		}
		slices.Sort(run.Milestones)
		run.Parameters.MaxEpochs = run.Milestones[len(run.Milestones)-1]
		byEpochs(e.trials[run.Id])
		spent[0] += uint64(len(run.Milestones))
		spent[1] += uint64(run.Parameters.MaxEpochs)
	}
	b := spec.Budget
	exceeds := func() bool {
		return b.GetTrials() > 0 && spent[0] > b.GetTrials() || b.GetEpochs() > 0 && spent[1] > b.GetEpochs()
	}
	if exceeds() {
		return true
	}
	for _, run := range runs {
		run.FirstTrial += e.size
	}
	e.beyond = nil
	for _, run := range inOrderOf(runs, study.Name, spec, ordered) {
		if has[run.Id] != nil {
			continue
		}
		spent[0] += uint64(len(run.Milestones))
		spent[1] += uint64(run.Parameters.MaxEpochs)
		if len(e.beyond) > 0 || exceeds() {
			e.beyond = append(e.beyond, of[run.Id]...)
			continue
		}
		run.Place = uint32(len(e.runs))
		e.runs, e.trials[run.Id] = append(e.runs, run), of[run.Id]
		byEpochs(of[run.Id])
		for _, trial := range of[run.Id] {
			e.indexes = append(e.indexes, trial.Index)
		}
	}
	e.size += g.Size()
	slices.Sort(e.indexes)
	return false
}

func byEpochs(trials []*trellisv1.Trial) {
	slices.SortFunc(trials, func(a, b *trellisv1.Trial) int {
		return cmp.Compare(a.Parameters.MaxEpochs, b.Parameters.MaxEpochs)
	})
}

// inOrderOf puts the runs of a grid in the order of the spec, or that of extensions of studies without a budget.
func inOrderOf(runs []*trellisv1.Run, name string, spec *trellisv1.StudySpec, ordered bool) []*trellisv1.Run {
	order := spec.Order
	if !ordered {
		order = trellisv1.Order_ORDER_UNSPECIFIED
	}
	switch {
	case order == trellisv1.Order_ORDER_UNSPECIFIED && spec.Pruning != nil:
		slices.SortFunc(runs, longestThenByID)
	case order == trellisv1.Order_ORDER_UNSPECIFIED || order == trellisv1.Order_ORDER_LONGEST:
		slices.SortFunc(runs, longest)
	default:
		slices.SortFunc(runs, func(a, b *trellisv1.Run) int { return cmp.Compare(a.FirstTrial, b.FirstTrial) })
	}
	if order != trellisv1.Order_ORDER_RANDOM {
		return runs
	}
	shuffled, permuted := make([]*trellisv1.Run, len(runs)), newPermutation(name, uint64(len(runs)))
	for place := range shuffled {
		shuffled[place] = runs[permuted.at(uint64(place))]
	}
	return shuffled
}

func checkBefore(t *rapid.T, l *Lattice, wanted *expansion) {
	for index := range wanted.size + 2 {
		at, _ := slices.BinarySearch(wanted.indexes, index)
		if got, ok := l.Before(index); ok != (at > 0) || ok && got != wanted.indexes[at-1] {
			t.Fatalf("before %d is %d, %t, of %v", index, got, ok, wanted.indexes)
		}
	}
}

// checkInOrder is TestInOrder.
func checkInOrder(t *rapid.T, l *Lattice) {
	names := rapid.SliceOfN(rapid.SampledFrom([]string{"learning_rate", "max_epochs", "none"}), 1, 2).Draw(t, "by")
	var levels []Level
	for _, name := range names {
		levels = append(levels, Level{name, func(point *trellisv1.Parameters) uint64 {
			number, _ := grid.Value(point, name).Numeric()
			return uint64(number * 1e3)
		}})
	}
	var positions [][]uint64
	for place := range l.Runs() {
		for _, index := range l.Indexes(place) {
			var position []uint64
			for _, level := range levels {
				position = append(position, level.Order(l.At(index)))
			}
			positions = append(positions, append(position, index))
		}
	}
	slices.SortFunc(positions, slices.Compare)
	from := rapid.IntRange(0, len(positions)).Draw(t, "after")
	var after []uint64
	if from > 0 {
		after = positions[from-1]
	}
	for at := range l.InOrder(levels, after) {
		if from == len(positions) || at.Index != positions[from][len(levels)] {
			t.Fatalf("trial %d after %v, want %v", at.Index, after, positions[min(from, len(positions)-1)])
		}
		if place, milestone, ok := l.Find(at.Index); !ok || place != at.Run || milestone != at.Milestone {
			t.Fatalf("trial %d is at %d, %d; want %d, %d", at.Index, at.Run, at.Milestone, place, milestone)
		}
		from++
	}
	if from != len(positions) {
		t.Fatalf("ends after %d of %d trials", from, len(positions))
	}
}

func checkCount(t *rapid.T, l *Lattice, wanted *expansion) {
	from := rapid.Uint64Range(0, wanted.size).Draw(t, "from")
	to := rapid.Uint64Range(from, wanted.size+1).Draw(t, "to")
	want := uint64(0)
	for _, index := range wanted.indexes {
		if from <= index && index < to {
			want++
		}
	}
	if within, _ := l.Count(from, to); within != want {
		t.Fatalf("%d trials from %d to %d, want %d", within, from, to, want)
	}
	if within, all := l.Count(0, wanted.size); within != uint64(len(wanted.indexes)) ||
		all != within+uint64(len(wanted.beyond)) {
		t.Fatalf("%d of %d trials, want %d, and %d beyond the budget", within, all, len(wanted.indexes), len(wanted.beyond))
	}
	if kept, ok := l.Kept(); ok != (len(wanted.beyond) > 0) || ok && !slices.Equal(kept, wanted.indexes) {
		t.Fatalf("kept are %v, %t, want %v", kept, ok, wanted.indexes)
	}
}
