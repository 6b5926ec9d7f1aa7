//go:build !race

package grid

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
)

// drawRequest draws values to be added, of which some are there already.
func drawRequest(t *rapid.T, spec *trellisv1.StudySpec) *trellisv1.ExtendStudyRequest {
	request := &trellisv1.ExtendStudyRequest{Study: "paper"}
	if rapid.Bool().Draw(t, "add seeds") {
		request.Seeds = drawIntegers(t, "seeds")
	}
	add := func(name string, draw func() *trellisv1.Axis) {
		if rapid.Bool().Draw(t, "add "+name) {
			if request.Axes == nil {
				request.Axes = map[string]*trellisv1.Axis{}
			}
			request.Axes[name] = draw()
		}
	}
	for _, name := range []string{"latent_dim", "max_epochs", "batch_size"} {
		add(name, func() *trellisv1.Axis { return drawIntegers(t, name) })
	}
	for _, name := range []string{"learning_rate", "weight_decay"} {
		add(name, func() *trellisv1.Axis { return drawNumbers(t, name) })
	}
	for _, axis := range testModels.Find(spec.Model).GetAxes()[len(commonAxes):] {
		add(axis.Name, func() *trellisv1.Axis { return drawOwn(t, axis) })
	}
	return request
}

// TestMergeAddsToEveryAxis of every grid, by what the grids' points are: those of each grid with the values of both.
func TestMergeAddsToEveryAxis(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := drawSpec(t)
		request := drawRequest(t, spec)
		specBefore, requestBefore := proto.CloneOf(spec), proto.CloneOf(request)
		merged, err := testModels.Merge(spec, request)
		if err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(spec, specBefore) || !proto.Equal(request, requestBefore) {
			t.Fatal("merging has changed what it was given")
		}
		if !Extends(merged, spec) {
			t.Fatalf("%v is not said to extend %v", merged, spec)
		}
		full := WithDefaults(spec)
		checkAxis(t, merged.Seeds, full.Seeds, request.Seeds)
		for i, grid := range merged.Grid {
			for name, axis := range grid.Axes {
				checkAxis(t, axis, full.Grid[i].Axes[name], request.Axes[name])
			}
			if len(grid.Axes) != len(full.Grid[i].Axes) {
				t.Fatalf("own axes %v, which were %v", grid.Axes, full.Grid[i].Axes)
			}
		}
		again, err := testModels.Merge(merged, request)
		if err != nil || !proto.Equal(again, merged) {
			t.Fatalf("the same values once more: %v and error %v, want %v", again, err, merged)
		}
		if proto.Equal(merged, full) {
			return
		}
		if Extends(spec, merged) {
			t.Fatalf("%v is said to extend %v", spec, merged)
		}
	})
}

func checkAxis(t *rapid.T, got, before, more *trellisv1.Axis) {
	values := func(a *trellisv1.Axis) (keys []ValueKey) {
		if a == nil {
			return nil
		}
		for _, value := range (&builder{}).values(a).values {
			keys = append(keys, KeyOf(value))
		}
		return keys
	}
	want := append(slices.Clone(values(before)), values(more)...)
	want = distinct(want)
	if !slices.Equal(values(got), want) || len(want) == len(values(before)) && !proto.Equal(got, before) {
		t.Fatalf("%v with %v is %v", before, more, got)
	}
}

// distinct keeps the first of each value.
func distinct[V comparable](values []V) (kept []V) {
	for _, value := range values {
		if !slices.Contains(kept, value) {
			kept = append(kept, value)
		}
	}
	return kept
}

func TestMergeRefuses(t *testing.T) {
	many := func(from, count uint32) *trellisv1.Axis {
		return &trellisv1.Axis{Linear: newRange(float64(from), float64(from+count-1), count)}
	}
	for _, test := range []struct {
		name    string
		request *trellisv1.ExtendStudyRequest
		want    string
	}{
		{
			"a learning rate of 0", &trellisv1.ExtendStudyRequest{Axes: map[string]*trellisv1.Axis{"learning_rate": numbers(0)}},
			`axes["learning_rate"].numbers[0]: learning_rate takes numbers above 0`,
		},
		{
			"too large a latent dimension", &trellisv1.ExtendStudyRequest{Axes: map[string]*trellisv1.Axis{"latent_dim": integers(785)}},
			`axes["latent_dim"].integers[0]: latent_dim takes whole numbers between 1 and 784`,
		},
		{
			"a negative weight decay", &trellisv1.ExtendStudyRequest{Axes: map[string]*trellisv1.Axis{"weight_decay": numbers(-1)}},
			`axes["weight_decay"].numbers[0]: weight_decay takes numbers between 0 and 1000`,
		},
		{
			"no epochs", &trellisv1.ExtendStudyRequest{Axes: map[string]*trellisv1.Axis{"max_epochs": integers(0)}},
			`axes["max_epochs"].integers[0]: max_epochs takes whole numbers between 1 and 10000`,
		},
		{
			"an empty batch", &trellisv1.ExtendStudyRequest{Axes: map[string]*trellisv1.Axis{"batch_size": integers(0)}},
			`axes["batch_size"].integers[0]: batch_size takes whole numbers between 1 and 65536`,
		},
		{
			"half an epoch", &trellisv1.ExtendStudyRequest{Axes: map[string]*trellisv1.Axis{"max_epochs": {Linear: newRange(1, 2, 3)}}},
			`axes["max_epochs"].linear: point 2 of 3 is 1.5`,
		},
		{
			"a value twice", &trellisv1.ExtendStudyRequest{Seeds: integers(7, 7)},
			"seeds.integers: 7 stands twice in the list",
		},
		{
			"an axis without values", &trellisv1.ExtendStudyRequest{Seeds: integers()},
			"seeds: an axis needs at least one value",
		},
		{"a range that runs down", &trellisv1.ExtendStudyRequest{Axes: map[string]*trellisv1.Axis{"learning_rate": {Log10: newRange(1,
			0.1, 3)}}}, `axes["learning_rate"].log10: from must be smaller than to`},
		{
			"too many seeds", &trellisv1.ExtendStudyRequest{Seeds: many(2, 9_999)},
			"grid: the study has 1,080,000 trials",
		},
		{
			"too many points", &trellisv1.ExtendStudyRequest{Axes: map[string]*trellisv1.Axis{"max_epochs": many(1, 10_000), "latent_dim": many(1, 700)}},
			"grid[0]: this grid has 7,000,000 points",
		},
		{
			"too many values of an axis", &trellisv1.ExtendStudyRequest{Seeds: many(1_000_000, 10_000)},
			"seeds.integers: must contain no more than 10000 item(s)",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			merged, err := testModels.Merge(testModels.WithDefaults(newSpec()), test.request)
			var invalid *protovalidate.ValidationError
			if merged != nil || !errors.As(err, &invalid) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v and error %v, want %q", merged, err, test.want)
			}
		})
	}
}

// TestExtendsNothingElse: an extension adds values to axes, and changes nothing else.
func TestExtendsNothingElse(t *testing.T) {
	spec := newSpec()
	if !Extends(spec, spec) {
		t.Error("a spec does not extend itself")
	}
	for name, change := range map[string]func(*trellisv1.StudySpec){
		"another model":      func(s *trellisv1.StudySpec) { s.Model = synthetic },
		"another data set":   func(s *trellisv1.StudySpec) { s.Data = "other" },
		"another split":      func(s *trellisv1.StudySpec) { s.Split = &trellisv1.Split{Train: 1, Validation: 1} },
		"more patience":      func(s *trellisv1.StudySpec) { s.EarlyStopping.Patience++ },
		"pruning":            func(s *trellisv1.StudySpec) { s.Pruning = &trellisv1.Pruning{} },
		"settling":           func(s *trellisv1.StudySpec) { s.Settle = &trellisv1.Settle{MaxSeeds: 2} },
		"one grid more":      func(s *trellisv1.StudySpec) { s.Grid = append(s.Grid, s.Grid[0]) },
		"one seed less":      func(s *trellisv1.StudySpec) { s.Seeds = integers(2) },
		"one axis more":      func(s *trellisv1.StudySpec) { s.Grid[0].Axes["batch_size"] = integers(2) },
		"one dimension less": func(s *trellisv1.StudySpec) { s.Grid[0].Axes["latent_dim"] = integers(4, 8, 16) },
		"another rate":       func(s *trellisv1.StudySpec) { s.Grid[0].Axes["learning_rate"] = numbers(1e-4, 1e-3, 2e-2) },
		"one decay less":     func(s *trellisv1.StudySpec) { delete(s.Grid[0].Axes, "weight_decay") },
		"other epochs":       func(s *trellisv1.StudySpec) { s.Grid[0].Axes["max_epochs"] = integers(50, 100, 151) },
	} {
		changed := proto.CloneOf(spec)
		change(changed)
		if Extends(changed, spec) {
			t.Errorf("%s is taken for an extension", name)
		}
	}
}

// TestExpandExtension against the expansion of the whole: the same trials and runs, under shifted indices, and then the
// points.
func TestExpandExtension(t *testing.T) {
	skipShort(t)
	rapid.Check(t, func(t *rapid.T) {
		spec, indices := drawSpec(t), rapid.Uint64Range(1, 1000).Draw(t, "indices")
		merged, err := testModels.Merge(spec, drawRequest(t, spec))
		if err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "prunes") {
			spec.Pruning = &trellisv1.Pruning{Method: &trellisv1.Pruning_Median{Median: &trellisv1.MedianStopping{}}}
			merged.Pruning = spec.Pruning
		}
		study := &trellisv1.Study{
			Name: "paper", Spec: WithDefaults(spec), DataSet: newDataSet(), Numerics: "1",
			Indices: indices,
		}
		command := &trellisv1.ExtendStudyCommand{Study: "paper", Indices: indices}
		want := uint64(0)
		if rapid.Bool().Draw(t, "with a spec") {
			command.Spec = merged
		} else {
			merged = study.Spec
		}
		wantTrials, wantRuns, err := Expand(merged, newDataSet(), "1", nil)
		if err != nil {
			t.Fatal(err)
		}
		g, err := New(merged)
		if err != nil {
			t.Fatal(err)
		}
		if want = indices; command.Spec == nil {
			wantTrials, wantRuns = nil, nil
		} else {
			want += g.Size()
		}
		for _, trial := range wantTrials {
			trial.Index += indices
		}
		for _, run := range wantRuns {
			run.FirstTrial += indices
		}
		// One point of the grid, one beside it, and that once more.
		inGrid, beside := g.At(0), g.At(0)
		beside.Seed = 99
		command.Points = []*trellisv1.Parameters{inGrid, beside, proto.CloneOf(beside)}
		config := commonConfig(merged, newDataSet(), "1", nil)
		config.Parameters = beside
		run := &trellisv1.Run{
			Study: "paper", Id: RunID(config), Parameters: beside, Milestones: []uint32{beside.MaxEpochs},
			State: trellisv1.RunState_RUN_STATE_PENDING, FirstTrial: want + 1, Spared: merged.Pruning != nil,
		}
		wantRuns = append(wantRuns, run)
		wantTrials = append(wantTrials, &trellisv1.Trial{
			Study: "paper", Index: want + 1, Parameters: beside, Run: run.Id, State: trellisv1.TrialState_TRIAL_STATE_PENDING,
		})

		trials, runs, next, err := ExpandExtension(study, command)
		if err != nil || next != want+3 {
			t.Fatalf("the next index is %d, error %v; want %d", next, err, want+3)
		}
		if !slices.EqualFunc(trials, wantTrials, func(a, b *trellisv1.Trial) bool { return proto.Equal(a, b) }) {
			t.Fatalf("trials\n%v\nwant\n%v", trials, wantTrials)
		}
		if !slices.EqualFunc(runs, wantRuns, func(a, b *trellisv1.Run) bool { return proto.Equal(a, b) }) {
			t.Fatalf("runs\n%v\nwant\n%v", runs, wantRuns)
		}
	})
}

// Values of any kind are added to a program's study, which has an objective in any case.
func TestMergeOfPrograms(t *testing.T) {
	spec := programSpec(&trellisv1.Program{})
	spec.Grid[0].Axes["optimizer"] = trellisv1.AxisOf("adam", "sgd")
	spec.Grid[0].Axes["amp"] = trellisv1.AxisOf(true)
	spec.Grid[0].Axes["layers"] = &trellisv1.Axis{Step: &trellisv1.Step{From: 1, To: 3, By: 1}}
	merged, err := testModels.Merge(spec, &trellisv1.ExtendStudyRequest{Axes: map[string]*trellisv1.Axis{
		"optimizer": trellisv1.AxisOf("rmsprop", "adam"), "amp": trellisv1.AxisOf(false), "layers": trellisv1.AxisOf(7),
		"learning_rate": trellisv1.AxisOf(1),
	}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]*trellisv1.Axis{
		"optimizer": trellisv1.AxisOf("adam", "sgd", "rmsprop"), "amp": trellisv1.AxisOf(true, false),
		"layers": trellisv1.AxisOf(1, 2, 3, 7),
	} {
		if got := merged.GetGrid()[0].GetAxes()[name]; !proto.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	for name, axis := range map[string]*trellisv1.Axis{
		"optimizer": trellisv1.AxisOf(1), "amp": trellisv1.AxisOf("maybe"), "learning_rate": trellisv1.AxisOf("fast"),
		"layers": trellisv1.AxisOf(2.5), "absent": trellisv1.AxisOf(1),
	} {
		if merged, err := testModels.Merge(spec, &trellisv1.ExtendStudyRequest{Axes: map[string]*trellisv1.Axis{name: axis}}); err == nil {
			t.Errorf("%v is added to %s: %v", axis, name, merged)
		} else {
			t.Log(err)
		}
	}
}

// TestBudgetsAreRaised: a budget may allow more, and nothing else may differ; what would be lower is refused, and so
// are values for a grid of which a part is left out.
func TestBudgetsAreRaised(t *testing.T) {
	budget := func(trials, epochs uint64, seconds int64) *trellisv1.Budget {
		b := &trellisv1.Budget{Trials: trials, Epochs: epochs}
		if seconds > 0 {
			b.Time = &durationpb.Duration{Seconds: seconds}
		}
		return b
	}
	of := func(b *trellisv1.Budget) *trellisv1.StudySpec {
		spec := &trellisv1.StudySpec{Name: "s", Model: "synthetic", Budget: b, Grid: []*trellisv1.Grid{{
			Axes: map[string]*trellisv1.Axis{
				"latent_dim": trellisv1.AxisOf(1, 2), "learning_rate": trellisv1.AxisOf(1),
				"max_epochs": trellisv1.AxisOf(3),
			},
		}}}
		return WithDefaults(spec)
	}
	for _, test := range []struct {
		name      string
		has, asks *trellisv1.Budget
		want      *trellisv1.Budget
	}{
		{"more trials", budget(5, 0, 0), budget(6, 0, 0), budget(6, 0, 0)},
		{"the same", budget(5, 0, 0), budget(5, 0, 0), budget(5, 0, 0)},
		{"fewer trials", budget(5, 0, 0), budget(4, 0, 0), nil},
		{"a part stays", budget(5, 7, 60), budget(0, 8, 0), budget(5, 8, 60)},
		{"fewer epochs", budget(5, 7, 0), budget(6, 6, 0), nil},
		{"a new limit", budget(5, 0, 0), budget(0, 100, 0), nil},
		{"more time", budget(5, 0, 60), budget(0, 0, 61), budget(5, 0, 61)},
		{"less time", budget(5, 0, 60), budget(0, 0, 59), nil},
		{"new time", budget(5, 0, 0), budget(0, 0, 60), nil},
		{"no budget so far", nil, budget(5, 0, 0), nil},
		{"dropped", budget(5, 7, 60), nil, nil},
	} {
		request := &trellisv1.ExtendStudyRequest{Budget: test.asks, DropBudget: test.asks == nil}
		merged, err := testModels.Merge(of(test.has), request)
		if refused := test.want == nil && test.asks != nil; (err != nil) != refused {
			t.Errorf("%s: error %v", test.name, err)
		} else if err == nil && (!proto.Equal(merged.Budget, test.want) || !Extends(merged, of(test.has))) {
			t.Errorf("%s: %v, which extends it: %v", test.name, merged, Extends(merged, of(test.has)))
		}
		asked := test.asks
		if test.want != nil {
			asked = test.want
		}
		if wanted := test.want != nil || test.asks == nil; Extends(of(asked), of(test.has)) != wanted {
			t.Errorf("%s: it says that %v extends %v: %v", test.name, asked, test.has, !wanted)
		}
	}
	longer := of(budget(6, 0, 0))
	longer.Seeds = trellisv1.AxisOf(1, 2)
	if before := of(budget(5, 0, 0)); !Extends(longer, before) || OnlyRaises(longer, before) {
		t.Error("a larger budget may not come with more seeds, or is said to come alone")
	}
	if before := of(budget(7, 0, 0)); Extends(longer, before) || OnlyRaises(longer, before) {
		t.Error("a smaller budget may come with more seeds")
	}
	longer.Budget = budget(5, 0, 0)
	if before := of(budget(5, 0, 0)); !Extends(longer, before) || OnlyRaises(longer, before) || !OnlyRaises(before, before) {
		t.Error("a sample may not get more seeds, or they are said to be none")
	}
	if before := of(budget(5, 0, 0)); !OnlyRaises(of(budget(6, 0, 0)), before) || OnlyRaises(before, longer) {
		t.Error("a larger budget alone is not told apart")
	}
	difference := Difference(of(budget(5, 0, 0)), of(budget(6, 0, 0)))
	if difference.Whole != nil || !proto.Equal(Before(of(budget(6, 0, 0)), difference), of(budget(5, 0, 0))) {
		t.Errorf("the difference is %v", difference)
	}
}

// What is fixed can't be extended, nor can the seed, which is no axis: the error says what can be done instead.
func TestMergeNamesFixedAndSeeds(t *testing.T) {
	spec := programSpec(&trellisv1.Program{})
	spec.Fixed = map[string]*trellisv1.Value{"momentum": trellisv1.NumberValue(0.9)}
	for name, want := range map[string]string{
		"momentum": `axes["momentum"]: momentum is fixed at 0.9 in this study: to search over it, submit a new study with ` +
			`momentum in its grid`,
		"seed": `axes["seed"]: seed is not an axis: add seeds instead`,
	} {
		merged, err := testModels.Merge(spec, &trellisv1.ExtendStudyRequest{
			Axes: map[string]*trellisv1.Axis{name: trellisv1.AxisOf(2)},
		})
		if merged != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v, want %q", name, merged, err, want)
		}
	}
}
