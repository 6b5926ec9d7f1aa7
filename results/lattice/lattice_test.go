package lattice

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// A lattice has the runs and trials that grid.Expand lists, in the order that a catalog has, as far as the budget goes;
// and it finds all of them again.
func TestLatticeIsExpand(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		study := &trellisv1.Study{Spec: drawSpec(t), Numerics: "1"}
		study.Name = rapid.StringMatching("[a-z]{1,3}").Draw(t, "name")
		study.Spec.Name = study.Name
		wanted := expand(t, study)
		l, err := New(study)
		if wanted == nil {
			if err == nil {
				t.Fatal("a lattice of a spec that grid.Expand refuses, or that has no runs")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		checkRuns(t, l, wanted)
		checkTrials(t, l, wanted)
		checkPoints(t, l, study, wanted)
		checkSpots(t, l)
	})
}

// Studies that MayShare tells apart have no run in common.
func TestMayShare(t *testing.T) {
	told := 0
	rapid.Check(t, func(t *rapid.T) {
		var ids [2]map[string]bool
		var lattices [2]*Lattice
		for i := range lattices {
			study := &trellisv1.Study{Name: "a", Spec: drawSpec(t), Numerics: "1"}
			l, err := New(study)
			if err != nil {
				t.Skip("no runs")
			}
			lattices[i], ids[i] = l, map[string]bool{}
			for place := range l.Runs() {
				ids[i][l.Run(place).Id] = true
			}
		}
		common := false
		for id := range ids[0] {
			common = common || ids[1][id]
		}
		may := lattices[0].MayShare(lattices[1])
		if may != lattices[1].MayShare(lattices[0]) || common && !may {
			t.Fatalf("may share %t, and has common runs %t", may, common)
		}
		if !may {
			told++
		}
	})
	if told == 0 {
		t.Fatal("tells no studies apart")
	}
}

// A restart compares every two studies: that must not list their values.
func TestMayShareAllocatesNothing(t *testing.T) {
	lattices := apart(t)
	if n := testing.AllocsPerRun(100, func() { lattices[0].MayShare(lattices[1]) }); n > 0 {
		t.Errorf("allocates %v times", n)
	}
}

// expansion is a study's runs in their order, within the budget, and the indexes of their trials.
type expansion struct {
	runs    []*trellisv1.Run
	trials  map[string][]*trellisv1.Trial
	indexes []uint64
	size    uint64
	// beyond are the trials beyond the budget.
	beyond []*trellisv1.Trial
}

// expand lists a study's runs and trials.
func expand(t *rapid.T, study *trellisv1.Study) *expansion {
	trials, runs, err := grid.Expand(study.Spec, study.DataSet, study.Numerics, study.Pretrained)
	if err != nil || len(trials) == 0 {
		return nil
	}
	g, err := grid.New(study.Spec)
	if err != nil {
		t.Fatal(err)
	}
	e := &expansion{trials: map[string][]*trellisv1.Trial{}, size: g.Size()}
	for _, trial := range trials {
		e.trials[trial.Run] = append(e.trials[trial.Run], trial)
	}
	if len(e.trials) != len(runs) {
		t.Skip("two runs have the same id")
	}
	for _, of := range e.trials {
		slices.SortFunc(of, func(a, b *trellisv1.Trial) int {
			return cmp.Compare(a.Parameters.MaxEpochs, b.Parameters.MaxEpochs)
		})
	}
	switch order := study.Spec.Order; {
	case order == trellisv1.Order_ORDER_UNSPECIFIED && study.Spec.Pruning != nil:
		slices.SortFunc(runs, longestThenByID)
	case order == trellisv1.Order_ORDER_UNSPECIFIED || order == trellisv1.Order_ORDER_LONGEST:
		slices.SortFunc(runs, longest)
	default:
		slices.SortFunc(runs, func(a, b *trellisv1.Run) int { return cmp.Compare(a.FirstTrial, b.FirstTrial) })
	}
	if study.Spec.Order == trellisv1.Order_ORDER_RANDOM {
		shuffled, order := make([]*trellisv1.Run, len(runs)), newPermutation(study.Name, uint64(len(runs)))
		for place := range shuffled {
			shuffled[place] = runs[order.at(uint64(place))]
		}
		runs = shuffled
	}
	spent := [2]uint64{}
	for place, run := range runs {
		spent[0] += uint64(len(run.Milestones))
		spent[1] += uint64(run.Parameters.MaxEpochs)
		b := study.Spec.Budget
		if place > 0 && (b.GetTrials() > 0 && spent[0] > b.GetTrials() ||
			b.GetEpochs() > 0 && spent[1] > b.GetEpochs()) {
			for _, run := range runs[place:] {
				e.beyond = append(e.beyond, e.trials[run.Id]...)
			}
			break
		}
		run.Place = uint32(place)
		e.runs = append(e.runs, run)
		for _, trial := range e.trials[run.Id] {
			e.indexes = append(e.indexes, trial.Index)
		}
	}
	slices.Sort(e.indexes)
	return e
}

func checkRuns(t *rapid.T, l *Lattice, wanted *expansion) {
	if int(l.Runs()) != len(wanted.runs) {
		t.Fatalf("%d runs, want %d", l.Runs(), len(wanted.runs))
	}
	epochs, alone, longest, smallest := uint64(0), uint64(0), uint32(0), wanted.runs[0].Id
	for place, want := range wanted.runs {
		if got := l.Run(uint32(place)); !proto.Equal(got, want) {
			t.Fatalf("run %d is\n%v\nwant\n%v", place, got, want)
		}
		epochs += uint64(want.Parameters.MaxEpochs)
		longest = max(longest, want.Parameters.MaxEpochs)
		for _, milestone := range want.Milestones {
			alone += uint64(milestone)
		}
		smallest = min(smallest, want.Id)
		if got, ok := l.PlaceOfID(want.Id); !ok || int(got) != place {
			t.Fatalf("the run of id %s is at %d, %t, want %d", want.Id, got, ok, place)
		}
	}
	if l.Epochs() != epochs || l.EpochsAlone() != alone || l.Longest() != longest {
		t.Fatalf("%d epochs, %d alone, longest %d, want %d, %d and %d", l.Epochs(), l.EpochsAlone(), l.Longest(),
			epochs, alone, longest)
	}
	if got := l.Smallest(); got != smallest {
		t.Fatalf("smallest id %s, want %s", got, smallest)
	}
	if _, ok := l.PlaceOfID("0123456789abcdef0123456789abcdef"); ok {
		t.Fatal("found an id that no run has")
	}
}

func checkTrials(t *rapid.T, l *Lattice, wanted *expansion) {
	if l.Trials() != uint64(len(wanted.indexes)) || l.Indices() != wanted.size {
		t.Fatalf("%d trials of %d indices, want %d of %d", l.Trials(), l.Indices(), len(wanted.indexes), wanted.size)
	}
	next := wanted.indexes
	for index := range wanted.size + 2 {
		_, _, found := l.Find(index)
		is := len(next) > 0 && next[0] == index
		if found != is {
			t.Fatalf("trial %d found: %t, want %t", index, found, is)
		}
		from, ok := l.From(index)
		if ok != (len(next) > 0) || ok && from != next[0] {
			t.Fatalf("from %d on: %d, %t; want %v", index, from, ok, next)
		}
		if is {
			next = next[1:]
		}
	}
	for place, run := range wanted.runs {
		indexes := l.Indexes(uint32(place))
		for milestone, trial := range wanted.trials[run.Id] {
			if indexes[milestone] != trial.Index {
				t.Fatalf("run %d has the trials %v, want %d at %d", place, indexes, trial.Index, milestone)
			}
			at, which, ok := l.Find(trial.Index)
			if !ok || int(at) != place || int(which) != milestone {
				t.Fatalf("trial %d is at %d, %d, %t; want %d, %d", trial.Index, at, which, ok, place, milestone)
			}
		}
		if len(indexes) != len(wanted.trials[run.Id]) {
			t.Fatalf("run %d has the trials %v", place, indexes)
		}
	}
}

// checkPoints finds runs by points as another study may have them: without what RunID leaves out, or with it.
func checkPoints(t *rapid.T, l *Lattice, study *trellisv1.Study, wanted *expansion) {
	unsaid := []string{grid.WeightDecay, grid.BatchSize, grid.LatentDim, "shift"}
	varied := func(p *trellisv1.Parameters) *trellisv1.Parameters {
		p = proto.CloneOf(p)
		name := rapid.SampledFrom(unsaid).Draw(t, "unsaid")
		if value := p.Values[name]; value == nil {
			p.Values[name] = trellisv1.IntegerValue(0)
		} else if x, _ := value.Numeric(); x == 0 {
			delete(p.Values, name)
		}
		return p
	}
	places := map[string]uint32{}
	for _, run := range wanted.runs {
		places[run.Id] = run.Place
	}
	for _, trial := range wanted.beyond {
		if place, ok := l.PlaceOf(trial.Parameters); ok {
			t.Fatalf("%v is trained at %d, which is beyond the budget", trial.Parameters, place)
		}
	}
	for _, run := range wanted.runs {
		for _, trial := range wanted.trials[run.Id] {
			for _, p := range []*trellisv1.Parameters{trial.Parameters, varied(trial.Parameters)} {
				want, has := places[l.identity.ID(p)]
				if got, ok := l.PlaceOf(p); ok != has || got != want {
					t.Fatalf("%v is trained at %d, %t; want %d, %t", p, got, ok, want, has)
				}
			}
		}
	}
	stranger := proto.CloneOf(wanted.runs[0].Parameters)
	stranger.Seed += 1000
	if _, ok := l.PlaceOf(stranger); ok {
		t.Fatal("found a point with a seed that the study does not have")
	}
}

// wheres are conditions by what they depend on.
var wheres = []string{
	"", "", "learning_rate < 0.01", "max_epochs != 3", "seed > 1 || learning_rate >= 0.01",
	"learning_rate >= 0.1 || max_epochs <= 3", "learning_rate < 0.05 && (max_epochs > 2 || seed == 1)",
}

// drawSpec draws a spec of one to three grids, of few values, so that they often overlap.
func drawSpec(t *rapid.T) *trellisv1.StudySpec {
	spec := &trellisv1.StudySpec{
		Where: rapid.SampledFrom(wheres).Draw(t, "where"),
		Seeds: drawAxis(t, "seeds", 1, 2, 3),
		Order: rapid.SampledFrom([]trellisv1.Order{0, 1, 2, 3}).Draw(t, "order"),
	}
	spec.Model = "synthetic"
	if rapid.Bool().Draw(t, "a program") {
		spec.Model = ""
		spec.Program = &trellisv1.Program{Command: []string{"train"}, Prefix: rapid.Bool().Draw(t, "prefix")}
	}
	if rapid.Bool().Draw(t, "prunes") {
		spec.Pruning = &trellisv1.Pruning{Method: &trellisv1.Pruning_Asha{Asha: &trellisv1.SuccessiveHalving{}}}
	}
	switch rapid.IntRange(0, 3).Draw(t, "budget") {
	case 1:
		spec.Budget = &trellisv1.Budget{Trials: uint64(rapid.IntRange(1, 30).Draw(t, "trials"))}
	case 2:
		spec.Budget = &trellisv1.Budget{Epochs: uint64(rapid.IntRange(1, 60).Draw(t, "epochs"))}
	case 3:
		spec.Budget = &trellisv1.Budget{
			Trials: uint64(rapid.IntRange(1, 30).Draw(t, "trials")),
			Epochs: uint64(rapid.IntRange(1, 60).Draw(t, "epochs")),
		}
	}
	for i := range rapid.IntRange(1, 3).Draw(t, "grids") {
		axes := map[string]*trellisv1.Axis{
			grid.LearningRate: drawAxis(t, fmt.Sprint(i, grid.LearningRate), 0.001, 0.01, 0.02, 0.1),
			grid.MaxEpochs:    drawAxis(t, fmt.Sprint(i, grid.MaxEpochs), 2, 3, 5),
		}
		for _, optional := range []string{grid.WeightDecay, grid.BatchSize, "shift", "noise"} {
			if rapid.IntRange(0, 3).Draw(t, "with "+optional) == 0 {
				axes[optional] = drawAxis(t, fmt.Sprint(i, optional), 0, 1, 4)
			}
		}
		spec.Grid = append(spec.Grid, &trellisv1.Grid{Axes: axes})
	}
	return grid.WithDefaults(spec)
}

// drawAxis draws some of the values, in any order.
func drawAxis(t *rapid.T, label string, values ...float64) *trellisv1.Axis {
	some := rapid.Permutation(values).Draw(t, label)
	return trellisv1.AxisOf(some[:rapid.IntRange(1, len(some)).Draw(t, label+" count")]...)
}

// The axes that a where depends on need not be next to each other, nor the slowest.
func TestWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		axes := map[string]*trellisv1.Axis{
			"a": drawAxis(t, "a", 1, 2, 3), "b": drawAxis(t, "b", 1, 2, 3, 4), "c": drawAxis(t, "c", 1, 2, 3),
			"d": drawAxis(t, "d", 1, 2), "e": drawAxis(t, "e", 1, 2, 3),
		}
		spec := &trellisv1.StudySpec{
			Name: "a", Program: &trellisv1.Program{}, Grid: []*trellisv1.Grid{{Axes: axes}},
		}
		spec.Where = rapid.SampledFrom([]string{
			"a != b", "b + d != 4 && e > 1", "a < e || b == 2", "c == 2", "e == 3", "a != 2 && c != 2 && e != 2", "",
		}).Draw(t, "where")
		g, err := grid.New(spec)
		if err != nil {
			t.Fatal(err)
		}
		p, met := &g.Products()[0], g.Met(0)
		order := rapid.Permutation([]int{0, 1, 2, 3, 4, 5, 6}[:len(p.Dimensions)]).Draw(t, "order")
		w := newWalk(p, order, met)
		w.count(met)
		rests := make([]uint64, 0, g.Size())
		for rest := range g.Size() {
			if rank, ok := w.rank(rest); ok != g.Meets(g.At(rest)) || rank > w.size() {
				t.Fatalf("%v: rank %d, %t", g.At(rest), rank, ok)
			} else if ok {
				rests = append(rests, rest)
			}
		}
		if uint64(len(rests)) != w.size() {
			t.Fatalf("size %d, want %d", w.size(), len(rests))
		}
		digitsOf := func(rest uint64) []uint64 {
			digits := make([]uint64, len(w.digits))
			for i, d := range w.digits {
				digits[i] = rest / d.weight % d.size
			}
			return digits
		}
		slices.SortFunc(rests, func(a, b uint64) int { return slices.Compare(digitsOf(a), digitsOf(b)) })
		for rank, rest := range rests {
			if got := w.at(uint64(rank)); got != rest {
				t.Fatalf("rank %d is %d, want %d", rank, got, rest)
			}
			if got, _ := w.rank(rest); got != uint64(rank) {
				t.Fatalf("%d has rank %d, want %d", rest, got, rank)
			}
		}
	})
}

// longest is the order in which older versions trained runs, and longestThenByID that of studies that prune.
func longest(a, b *trellisv1.Run) int {
	return cmp.Or(cmp.Compare(b.Parameters.GetMaxEpochs(), a.Parameters.GetMaxEpochs()),
		cmp.Compare(a.FirstTrial, b.FirstTrial))
}

func longestThenByID(a, b *trellisv1.Run) int {
	return cmp.Or(cmp.Compare(b.Parameters.GetMaxEpochs(), a.Parameters.GetMaxEpochs()), strings.Compare(a.Id, b.Id))
}

// ByID has all runs, in the order of their ids.
func TestByID(t *testing.T) {
	l, err := New(gridOf(trellisv1.Order_ORDER_RANDOM, 20, 25, 10))
	if err != nil {
		t.Fatal(err)
	}
	all, err := l.ByID(func() error { return nil })
	if err != nil || len(all) != 5000 {
		t.Fatal(len(all), err)
	}
	for i, its := range all {
		if id := l.Run(its.Place).Id; id != its.String() || id != string(its.Append(nil)) {
			t.Fatalf("the run at place %d has the id %s, not %s", its.Place, id, its)
		}
		if i > 0 && all[i-1].String() >= its.String() {
			t.Fatalf("%s is before %s", all[i-1], its)
		}
	}
	stopped := errors.New("stopped")
	if _, err := l.ByID(func() error { return stopped }); !errors.Is(err, stopped) {
		t.Fatalf("error %v", err)
	}
}

// A lattice costs what its axes cost, however many points they have.
func TestCostOfLarge(t *testing.T) {
	for _, test := range []struct {
		name  string
		study *trellisv1.Study
		bytes uint64
	}{{"10^6", million(0), 1 << 20}, {"10^12", billions(), 16 << 20}} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		l, err := New(test.study)
		if err != nil {
			t.Fatal(err)
		}
		for _, place := range []uint32{0, l.Runs() - 1} {
			if at, ok := l.PlaceOf(l.Run(place).Parameters); !ok || at != place {
				t.Errorf("%s: run %d is at %d, %t", test.name, place, at, ok)
			}
		}
		if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > test.bytes {
			t.Errorf("%s: takes %d bytes", test.name, after.TotalAlloc-before.TotalAlloc)
		}
	}
}

// Several may ask for what is computed once.
func TestConcurrentUse(t *testing.T) {
	study := gridOf(trellisv1.Order_ORDER_RANDOM, 10, 10, 10)
	study.Spec.Budget = &trellisv1.Budget{Trials: 500}
	l, err := New(study)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			run := l.Run(7)
			if place, ok := l.PlaceOfID(run.Id); !ok || place != 7 {
				t.Errorf("at %d, %t", place, ok)
			}
			if index, ok := l.From(run.FirstTrial); !ok || index != run.FirstTrial {
				t.Errorf("from %d: %d, %t", run.FirstTrial, index, ok)
			}
			if l.Smallest() > run.Id {
				t.Errorf("smallest %s", l.Smallest())
			}
		})
	}
	all.Wait()
}

// Others stand among the runs by their ids, also before the first and behind the last.
func TestOrderWith(t *testing.T) {
	ids := []Identified{{ID: [16]byte{2}}, {ID: [16]byte{4}}, {ID: [16]byte{6}}}
	id := func(first byte) string { return Identified{ID: [16]byte{first}}.String() }
	for _, test := range []struct {
		others []string
		want   []uint32
	}{
		{nil, nil},
		{[]string{id(1), id(3), id(3), id(7)}, []uint32{3, 0, 4, 5, 1, 2, 6}},
		{[]string{id(8), id(9)}, []uint32{0, 1, 2, 3, 4}},
	} {
		if got := OrderWith(ids, test.others); !slices.Equal(got, test.want) {
			t.Errorf("with %v: %v, want %v", test.others, got, test.want)
		}
	}
}
