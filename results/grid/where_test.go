package grid

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
)

// whereSpec is of a program with parameters of all kinds, in two grids that overlap: 48 points each, of which 24 are in
// both.
func whereSpec(where string) *trellisv1.StudySpec {
	axes := func(optimizers []string, epochs ...uint32) map[string]*trellisv1.Axis {
		return map[string]*trellisv1.Axis{
			"optimizer.name": trellisv1.AxisOf(optimizers...),
			"optimizer.lr":   trellisv1.AxisOf[float64](1, 0.5),
			"Layers":         trellisv1.AxisOf[int](2, 3, 4),
			"amp":            trellisv1.AxisOf(true, false),
			"max_epochs":     integers(epochs...),
		}
	}
	return &trellisv1.StudySpec{
		Name: "where", Program: &trellisv1.Program{Command: []string{"train"}},
		Objective: &trellisv1.Objective{Metric: "loss"}, Seeds: integers(1, 2),
		Fixed: map[string]*trellisv1.Value{"momentum": trellisv1.NumberValue(0.9)},
		Grid: []*trellisv1.Grid{
			{Axes: axes([]string{"adam", "sgd"}, 5)}, {Axes: axes([]string{"sgd"}, 5, 10)},
		},
		Where: where,
	}
}

// keptBy are the indices of the points of a spec that keep keeps, by looking at each.
func keptBy(
	t testing.TB, spec *trellisv1.StudySpec, keep func(*trellisv1.Parameters) bool,
) (kept []uint64, distinct int) {
	t.Helper()
	all := proto.CloneOf(spec)
	all.Where = ""
	g := newGrid(t, all)
	for index, point := range g.All() {
		distinct++
		if keep(point) {
			kept = append(kept, index)
		}
	}
	return kept, distinct
}

func newGrid(t testing.TB, spec *trellisv1.StudySpec) *Grid {
	t.Helper()
	g, err := New(spec)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// checkWhere compares all ways to see which points a spec has with the indices that it should have.
func checkWhere(t *testing.T, spec *trellisv1.StudySpec, want []uint64, distinct int) {
	t.Helper()
	g := newGrid(t, spec)
	var got []uint64
	for index, point := range g.All() {
		got = append(got, index)
		if at, ok := g.Index(point); !ok || at != index {
			t.Errorf("index %d is found at %d", index, at)
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%s: has the points %v, want %v", spec.GetWhere(), got, want)
	}
	for index := range g.Size() {
		kept := slices.Contains(want, index)
		if at, ok := g.Index(g.At(index)); ok != slices.Contains(want, at) {
			t.Errorf("%s: index %d is in the grid: %t", spec.GetWhere(), index, ok)
		}
		if g.First(index) != kept {
			t.Errorf("%s: index %d is first: %t", spec.GetWhere(), index, !kept)
		}
	}
	trials, _, err := Expand(spec, nil, "1", nil)
	if err != nil || len(trials) != len(want) {
		t.Errorf("%s: %d trials, %v", spec.GetWhere(), len(trials), err)
	}
	for i, trial := range trials {
		if trial.GetIndex() != want[i] {
			t.Errorf("%s: trial %d has the index %d", spec.GetWhere(), i, trial.GetIndex())
		}
	}
	left, err := LeftOut(t.Context(), spec)
	if len(want) == 0 {
		if err == nil || !strings.Contains(err.Error(), "leaves out all") {
			t.Errorf("%s: %v, want to hear that nothing is left", spec.GetWhere(), err)
		}
	} else if err != nil || left != uint64(distinct-len(want)) {
		t.Errorf("%s: leaves out %d of %d, %v", spec.GetWhere(), left, distinct, err)
	}
}

func number(p *trellisv1.Parameters, name string) float64 { return numberOf(Value(p, name)) }

func TestWhere(t *testing.T) {
	for where, keep := range map[string]func(p *trellisv1.Parameters) bool{
		"": func(*trellisv1.Parameters) bool { return true },
		"optimizer.name == 'adam'": func(p *trellisv1.Parameters) bool {
			return p.GetValues()["optimizer.name"].GetText() == "adam"
		},
		"optimizer.name != 'sgd' || optimizer.lr >= 1": func(p *trellisv1.Parameters) bool {
			return p.GetValues()["optimizer.name"].GetText() != "sgd" || number(p, "optimizer.lr") >= 1
		},
		"optimizer.lr * Layers > 1.5": func(p *trellisv1.Parameters) bool {
			return number(p, "optimizer.lr")*number(p, "Layers") > 1.5
		},
		"amp": func(p *trellisv1.Parameters) bool { return p.GetValues()["amp"].GetBoolean() },
		"!amp && Layers % 2 == 0": func(p *trellisv1.Parameters) bool {
			return !p.GetValues()["amp"].GetBoolean() && number(p, "Layers") != 3
		},
		"Layers in [2, 4]":  func(p *trellisv1.Parameters) bool { return number(p, "Layers") != 3 },
		"optimizer.lr == 1": func(p *trellisv1.Parameters) bool { return number(p, "optimizer.lr") == 1 },
		"max_epochs > 5":    func(p *trellisv1.Parameters) bool { return p.GetMaxEpochs() > 5 },
		"seed == 1 || Layers == 2": func(p *trellisv1.Parameters) bool {
			return p.GetSeed() == 1 || number(p, "Layers") == 2
		},
		"momentum < 0.95": func(*trellisv1.Parameters) bool { return true },
		"momentum > 0.95": func(*trellisv1.Parameters) bool { return false },
		"optimizer.name.startsWith('s') && seed + max_epochs == 7": func(p *trellisv1.Parameters) bool {
			return p.GetValues()["optimizer.name"].GetText() == "sgd" && p.GetSeed()+p.GetMaxEpochs() == 7
		},
	} {
		spec := whereSpec(where)
		want, distinct := keptBy(t, spec, keep)
		checkWhere(t, spec, want, distinct)
	}
}

// randomCondition returns an expression, and what it says of a point.
func randomCondition(random *rand.Rand, depth int) (string, func(*trellisv1.Parameters) bool) {
	if depth == 0 || random.IntN(4) == 0 {
		switch random.IntN(5) {
		case 0:
			text := []string{"adam", "sgd", "x"}[random.IntN(3)]
			return fmt.Sprintf("optimizer.name == '%s'", text), func(p *trellisv1.Parameters) bool {
				return p.GetValues()["optimizer.name"].GetText() == text
			}
		case 1:
			return "amp", func(p *trellisv1.Parameters) bool { return p.GetValues()["amp"].GetBoolean() }
		}
		name := []string{"optimizer.lr", "Layers", "max_epochs", "seed", "momentum"}[random.IntN(5)]
		bound := []float64{0.5, 1, 2, 3, 5, 10}[random.IntN(6)]
		text := fmt.Sprint(bound)
		switch random.IntN(3) {
		case 0:
			return name + " < " + text, func(p *trellisv1.Parameters) bool { return number(p, name) < bound }
		case 1:
			return text + " <= " + name, func(p *trellisv1.Parameters) bool { return bound <= number(p, name) }
		}
		return "double(" + name + ") + 1 == " + text, func(p *trellisv1.Parameters) bool {
			return number(p, name)+1 == bound
		}
	}
	a, left := randomCondition(random, depth-1)
	b, right := randomCondition(random, depth-1)
	switch random.IntN(4) {
	case 0:
		return "!(" + a + ")", func(p *trellisv1.Parameters) bool { return !left(p) }
	case 1:
		return "(" + a + ") ? (" + b + ") : amp", func(p *trellisv1.Parameters) bool {
			if left(p) {
				return right(p)
			}
			return p.GetValues()["amp"].GetBoolean()
		}
	case 2:
		return "(" + a + ") && (" + b + ")", func(p *trellisv1.Parameters) bool { return left(p) && right(p) }
	}
	return "(" + a + ") || (" + b + ")", func(p *trellisv1.Parameters) bool { return left(p) || right(p) }
}

// Random conditions keep what filtering by hand keeps.
func TestWhereKeepsWhatItSays(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 60 {
		expression, keep := randomCondition(random, 4)
		spec := whereSpec(expression)
		want, distinct := keptBy(t, spec, keep)
		checkWhere(t, spec, want, distinct)
		if t.Failed() {
			return
		}
	}
}

// What can't be computed at a point is refused with the point, and what takes too long.
func TestWhereIsRefused(t *testing.T) {
	for where, want := range map[string]string{
		"1 / (Layers - 3) == 1":             "where: division by zero for Layers 3",
		"Layers > 4":                        "where: leaves out all 72 points: no trial would be left",
		"optimizer.lr > 'a'":                "where: > can't be used on a number and a text",
		"layers > 4":                        `where: unknown parameter "layers": did you mean "Layers"?`,
		"optimizer == 'adam'":               `where: unknown parameter "optimizer": `,
		"seeds == 1":                        `where: unknown parameter "seeds": did you mean "seed"?`,
		"Layers":                            "where: Layers is a whole number: must be a condition",
		"optimizer.name.matches('a{9999}')": "where: optimizer.name.matches('a{9999}') cannot be computed",
	} {
		_, err := LeftOut(t.Context(), whereSpec(where))
		invalid, ok := errors.AsType[*protovalidate.ValidationError](err)
		if !ok || !strings.Contains(err.Error(), want) ||
			protovalidate.FieldPathString(invalid.Violations[0].Proto.GetField()) != "where" {
			t.Errorf("%s: %v, want %s", where, err, want)
		}
	}
	skipShort(t)
	// Each point costs a few hundred.
	spec := millionSpec("seed >= 0 && (" + strings.Repeat("a + b * c == 3 || ", 30) + "a + b + c + d + seed > 0)")
	if _, err := LeftOut(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "takes too long") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	spec = millionSpec("a > 100")
	if _, err := LeftOut(ctx, spec); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// A parameter that a grid of the union lacks can't be compared, unless it is fixed.
func TestWhereInUnions(t *testing.T) {
	spec := whereSpec("dropout < 0.5")
	spec.Grid[1].Axes["dropout"] = numbers(0.1, 0.6)
	if _, err := New(spec); err == nil || !strings.Contains(err.Error(), "grid 1 of 2 has no dropout") {
		t.Errorf("got %v", err)
	}
	spec.Fixed["dropout"] = trellisv1.NumberValue(0.9)
	want, distinct := keptBy(t, spec, func(p *trellisv1.Parameters) bool { return number(p, "dropout") == 0.1 })
	if len(want) != 48 {
		t.Fatalf("%d points by hand", len(want))
	}
	checkWhere(t, spec, want, distinct)
}

// What is added to a study keeps to its where.
func TestWhereOfExtensions(t *testing.T) {
	spec := whereSpec("Layers > 2 && (optimizer.lr < 1 || amp)")
	study := &trellisv1.Study{Name: "where", Spec: spec, Indices: 100}
	more, err := testModels.Merge(spec, &trellisv1.ExtendStudyRequest{
		Axes: map[string]*trellisv1.Axis{"optimizer.lr": numbers(2)}, Seeds: integers(3),
	})
	if err != nil {
		t.Fatal(err)
	}
	if more.GetWhere() != spec.GetWhere() || !Extends(more, spec) {
		t.Fatalf("the where is now %q", more.GetWhere())
	}
	trials, _, _, err := ExpandExtension(study, &trellisv1.ExtendStudyCommand{Study: "where", Indices: 100, Spec: more})
	if err != nil {
		t.Fatal(err)
	}
	want, _ := keptBy(t, more, func(p *trellisv1.Parameters) bool {
		return number(p, "Layers") > 2 && (number(p, "optimizer.lr") < 1 || p.GetValues()["amp"].GetBoolean())
	})
	var got []uint64
	for _, trial := range trials {
		got = append(got, trial.GetIndex()-100)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	g := newGrid(t, spec)
	outside := &trellisv1.Parameters{MaxEpochs: 99, Seed: 7, Values: trellisv1.ValuesOf(map[string]any{
		"Layers": 4, "optimizer.lr": 0.25, "amp": false,
	})}
	if !g.Meets(outside) {
		t.Error("a point outside of the grid does not meet the condition")
	}
	outside.Values["Layers"] = trellisv1.IntegerValue(1)
	if g.Meets(outside) {
		t.Error("a point outside of the grid meets the condition")
	}
}

// millionSpec has a million points.
func millionSpec(where string) *trellisv1.StudySpec {
	return &trellisv1.StudySpec{
		Name: "million", Program: &trellisv1.Program{Command: []string{"train"}, Prefix: true},
		Objective: &trellisv1.Objective{Metric: "loss"}, Where: where,
		Seeds: &trellisv1.Axis{Linear: newRange(1, 10, 10)},
		Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
			"a": {Linear: newRange(1, 100, 100)}, "b": {Linear: newRange(1, 10, 10)},
			"c": {Linear: newRange(1, 10, 10)}, "d": {Linear: newRange(1, 10, 10)},
		}}},
	}
}

func BenchmarkWhere(b *testing.B) {
	for name, where := range map[string]string{
		"all axes": "a + b + c + d + seed > 60", "two axes": "a != 3 || b >= 5", "nothing": "",
	} {
		b.Run(name, func(b *testing.B) {
			spec := millionSpec(where)
			for b.Loop() {
				if _, err := LeftOut(b.Context(), spec); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// LeftOut counts by combinations what looking at every point counts, also where grids overlap.
func TestLeftOutCounts(t *testing.T) {
	axis := func(t *rapid.T, name string) *trellisv1.Axis {
		values := rapid.Permutation([]float64{1, 2, 3, 4}).Draw(t, name)
		return numbers(values[:rapid.IntRange(1, 4).Draw(t, name+" count")]...)
	}
	rapid.Check(t, func(t *rapid.T) {
		spec := &trellisv1.StudySpec{Name: "a", Program: &trellisv1.Program{}, Where: rapid.SampledFrom([]string{
			"a < b", "a + max_epochs > 3.0", "b != 2.0 || seed == 1", "c > 2.0", "a == 1.0 && c == 1.0",
		}).Draw(t, "where")}
		for i := range rapid.IntRange(1, 3).Draw(t, "grids") {
			spec.Grid = append(spec.Grid, &trellisv1.Grid{Axes: map[string]*trellisv1.Axis{}})
			for _, name := range []string{"a", "b", "c", MaxEpochs} {
				spec.Grid[i].Axes[name] = axis(t, fmt.Sprint(i, name))
			}
		}
		g, err := New(spec)
		if err != nil {
			t.Fatal(err)
		}
		want, kept := uint64(0), false
		for index := range g.Size() {
			if met := g.Meets(g.At(index)); met {
				kept = true
			} else if g.first(g.productOf(index), index) {
				want++
			}
		}
		got, err := LeftOut(t.Context(), spec)
		if (err == nil) != kept || kept && got != want {
			t.Fatalf("left out %d, %v; want %d", got, err, want)
		}
	})
}

// A budget admits any number of points that can be counted, and nothing that is asked of the spec looks at all of them.
func TestBudgetOfHugeGrid(t *testing.T) {
	skipShort(t)
	spec := hugeSpec()
	spec.Where = "latent_dim > 50 || learning_rate > 1e-3"
	spec.Grid[0].Axes["latent_dim"] = &trellisv1.Axis{Linear: newRange(1, 100, 100)}
	for budget, wrong := range map[*trellisv1.Budget]string{
		nil:                                 "without a budget",
		{Trials: MaxTrials}:                 "",
		{Epochs: 500}:                       "",
		{Trials: MaxTrials + 1}:             "at most as many trials",
		{Time: durationpb.New(1000)}:        "at most as many trials",
		{Trials: MaxTrials + 1, Epochs: 10}: "",
	} {
		spec.Budget = budget
		if err := testModels.Validate(spec); wrong == "" && err != nil || wrong != "" && (err == nil || !strings.Contains(err.Error(), wrong)) {
			t.Errorf("%v: got %v, want %q", budget, err, wrong)
		}
	}
	spec.Budget = &trellisv1.Budget{Trials: 1000}
	if _, err := LeftOut(t.Context(), testModels.WithDefaults(spec)); err != nil {
		t.Error(err)
	}
	if _, _, err := Expand(spec, newDataSet(), "1", nil); err == nil {
		t.Error("lists all points")
	}
	for range 4 { // 10^21 points and more overflow.
		for i := range 2 {
			spec.Grid[0].Axes[fmt.Sprint("more_", i, len(spec.Grid[0].Axes))] = &trellisv1.Axis{Linear: newRange(1, 10_000, 10_000)}
		}
	}
	if _, err := New(spec); err == nil || !strings.Contains(err.Error(), "a study has at most 18,446,744,073,709,551,614") {
		t.Errorf("overflow: %v", err)
	}
}
