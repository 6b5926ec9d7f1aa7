//go:build !race

package grid

import (
	"errors"
	"maps"
	"math"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// newOwnSpec is the paper's search with a model that has axes of its own.
func newOwnSpec(model string, axes map[string]*trellisv1.Axis) *trellisv1.StudySpec {
	spec := newSpec()
	spec.Model = model
	maps.Copy(spec.Grid[0].Axes, axes)
	return spec
}

type axesByName = map[string]*trellisv1.Axis

func TestValidateModels(t *testing.T) {
	fromStudy := &trellisv1.Pretrained{Study: "paper"}
	for _, test := range []struct {
		name  string
		model string
		axes  axesByName
		spoil func(spec *trellisv1.StudySpec)
		// want are the violations, as "path: message". None: the spec is valid.
		want []string
	}{
		{"valid", "denoising-autoencoder", axesByName{"noise": numbers(0.3, 0.5)}, nil, nil},
		{"defaults", "several", nil, nil, nil},
		{"one of two", "several", axesByName{"width": {Linear: newRange(1, 3, 3)}}, nil, nil},
		{"unknown model", "denoising", nil, nil, []string{
			`model: unknown model "denoising": did you mean "denoising-autoencoder"?`,
		}},
		{"unknown model without data", "x", nil, func(spec *trellisv1.StudySpec) { spec.Data = "" }, []string{
			`model: unknown model "x": must be one of conv-autoencoder, synthetic, denoising-autoencoder, classifier, several`,
		}},
		{"no model", "", nil, nil, []string{"missing what to train: either a model, for example model: conv-autoencoder, or a program, for example " +
			"program: {command: [python, train.py]}"}},
		{"missing axis", "denoising-autoencoder", nil, nil, []string{
			`grid[0].axes["noise"]: noise is missing: denoising-autoencoder has no default for this axis, which takes numbers ` +
				"above 0 and at most 10",
		}},
		{"misspelt axis", "several", axesByName{"widht": numbers(1)}, nil, []string{
			`grid[0].axes["widht"]: unknown axis "widht": did you mean "width"?`,
		}},
		{"another model's axis", "conv-autoencoder", axesByName{"noise": numbers(1)}, nil, []string{
			`grid[0].axes["noise"]: conv-autoencoder has no axis "noise", only denoising-autoencoder: must be one of latent_dim, ` +
				"learning_rate, weight_decay, max_epochs, batch_size",
		}},
		{"too low", "denoising-autoencoder", axesByName{"noise": numbers(1, 0)}, nil, []string{
			`grid[0].axes["noise"].numbers[1]: noise takes numbers above 0 and at most 10, not 0`,
		}},
		{"too high", "denoising-autoencoder", axesByName{"noise": {Log10: newRange(1, 100, 3)}}, nil, []string{
			`grid[0].axes["noise"].log10: noise takes numbers above 0 and at most 10, not 100`,
		}},
		{"not whole", "several", axesByName{"width": numbers(1.5)}, nil, []string{
			`grid[0].axes["width"].numbers[0]: width takes whole numbers between 1 and 100, not 1.5`,
		}},
		{"a range that is not whole", "several", axesByName{"width": {Linear: newRange(1, 4, 3)}}, nil, []string{
			`grid[0].axes["width"].linear: point 2 of 3 is 2.5, and this parameter takes whole numbers: count: 4 gives 1, 2, 3, 4, ` +
				"or write a list",
		}},
		{"an empty axis", "several", axesByName{"width": numbers()}, nil, []string{
			`grid[0].axes["width"]: an axis needs at least one value: a list such as [4, 8], or one range such as ` +
				"{log2: {from: 4, to: 32, count: 4}}",
		}},
		{
			"no latent dimension", "conv-autoencoder", nil,
			func(spec *trellisv1.StudySpec) { delete(spec.Grid[0].Axes, "latent_dim") },
			[]string{
				`grid[0].axes["latent_dim"]: value is required`,
			},
		},
		{"no data", "several", nil, func(spec *trellisv1.StudySpec) { spec.Data = "" }, []string{
			"missing 'data': the data set to train on, for example data: mnist",
		}},
		{"pretrained", "classifier", nil, func(spec *trellisv1.StudySpec) { spec.Pretrained = fromStudy }, nil},
		{"a latent dimension from a study", "classifier", nil, func(spec *trellisv1.StudySpec) {
			spec.Pretrained = fromStudy
			delete(spec.Grid[0].Axes, "latent_dim")
		}, nil},
		{"a latent dimension from a checkpoint", "classifier", nil, func(spec *trellisv1.StudySpec) {
			spec.Pretrained = &trellisv1.Pretrained{Checkpoint: strings.Repeat("0", 64)}
			delete(spec.Grid[0].Axes, "latent_dim")
		}, []string{`grid[0].axes["latent_dim"]: value is required`}},
		{"nothing pretrained", "classifier", nil, nil, []string{
			"pretrained: the model classifier begins with weights of the model conv-autoencoder or denoising-autoencoder: name a " +
				"study of it, for example pretrained: {study: paper}",
		}},
		{
			"pretrained for nothing", "several", nil, func(spec *trellisv1.StudySpec) { spec.Pretrained = fromStudy },
			[]string{
				"pretrained: the model several begins with random weights: leave pretrained out",
			},
		},
		{"too many points", "several", axesByName{"angle": {Linear: newRange(0, 100, 10_000)}}, nil, []string{
			"grid[0]: this grid has 1,080,000 points (4 latent_dim x 3 learning_rate x 3 weight_decay x 10,000 angle x " +
				"3 max_epochs); a study has at most 1,000,000 without a budget such as {trials: 500}",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			spec := newOwnSpec(test.model, test.axes)
			if test.spoil != nil {
				test.spoil(spec)
			}
			before := proto.CloneOf(spec)
			err := testModels.Validate(spec)
			if !proto.Equal(spec, before) {
				t.Error("validation changed the spec")
			}
			var got []string
			if invalid, ok := errors.AsType[*protovalidate.ValidationError](err); ok {
				for _, v := range invalid.Violations {
					got = append(got, v.String())
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if strings.Join(got, "\n") != strings.Join(test.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

// TestModelsWithDefaults: what the spec gives stays, what it leaves out gets a value, and what has none stays out.
func TestModelsWithDefaults(t *testing.T) {
	spec := newOwnSpec("several", axesByName{"width": numbers(7)})
	spec.Grid = append(spec.Grid, proto.CloneOf(newSpec().Grid[0]))
	before := proto.CloneOf(spec)
	got := testModels.WithDefaults(spec)
	want := WithDefaults(spec)
	maps.Copy(want.Grid[0].Axes, axesByName{"width": integers(7), "angle": numbers(0.5), "batch_size": integers(256)})
	maps.Copy(want.Grid[1].Axes, axesByName{"width": integers(3), "angle": numbers(0.5), "batch_size": integers(256)})
	if !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if !proto.Equal(spec, before) {
		t.Error("the spec was changed")
	}
	for _, model := range []string{"denoising-autoencoder", "conv-autoencoder", "unknown"} {
		if got := testModels.WithDefaults(newOwnSpec(model, nil)); len(got.Grid[0].Axes) > 5 {
			t.Errorf("%s is given %v", model, got.Grid[0].Axes)
		}
	}
}

// TestMergeOwnAxes: an axis keeps what it has, and a request is checked by the model.
func TestMergeOwnAxes(t *testing.T) {
	spec := testModels.WithDefaults(newOwnSpec("several", axesByName{"width": {Linear: newRange(1, 3, 3)}}))
	merged, err := testModels.Merge(spec, &trellisv1.ExtendStudyRequest{Axes: axesByName{"width": numbers(2, 9)}})
	if err != nil {
		t.Fatal(err)
	}
	want := axesByName{"width": integers(1, 2, 3, 9), "angle": numbers(0.5)}
	if got := merged.Grid[0].Axes; !proto.Equal(got["width"], want["width"]) ||
		!proto.Equal(got["angle"], want["angle"]) {
		t.Errorf("got %v, want %v", got, want)
	}
	old := newOwnSpec("several", axesByName{"width": numbers(1)}) // Before the model had an angle.
	for name, test := range map[string]struct {
		spec *trellisv1.StudySpec
		axes axesByName
		want string
	}{
		"out of bounds": {
			spec,
			axesByName{"angle": numbers(2000)},
			`axes["angle"].numbers[0]: angle takes numbers between 0 and 1000`,
		},
		"unknown": {
			spec,
			axesByName{"noise": numbers(1)},
			`axes["noise"]: several has no axis "noise", only`,
		},
		"not in the study": {old, axesByName{"angle": numbers(1)}, `axes["angle"]: the study's trials have no angle`},
		"an unknown model": {newOwnSpec("unknown", nil), axesByName{"angle": numbers(1)}, `unknown model "unknown"`},
		"a value not whole": {
			spec,
			axesByName{"width": {Linear: newRange(1, 2, 3)}},
			`axes["width"].linear: point 2 of 3 is 1.5`,
		},
	} {
		merged, err := testModels.Merge(test.spec, &trellisv1.ExtendStudyRequest{Axes: test.axes})
		if merged != nil || err == nil || !strings.Contains(err.Error(), test.want) ||
			strings.Contains(err.Error(), "grid[0].axes") {
			t.Errorf("%s: %v and error %v, want %q", name, merged, err, test.want)
		}
	}
	more, err := testModels.Merge(old, &trellisv1.ExtendStudyRequest{Seeds: integers(7)})
	if err != nil || len(more.Grid[0].Axes) != 5 || !Extends(more, old) {
		t.Errorf("more seeds of an old study: %v, %v", more, err)
	}
}

// TestExtendsOwnAxes: an extension neither takes values from own axes nor adds or takes an axis.
func TestExtendsOwnAxes(t *testing.T) {
	spec := newOwnSpec("several", axesByName{"width": numbers(1, 2), "angle": numbers(1)})
	if !Extends(newOwnSpec("several", axesByName{"width": numbers(2, 1, 3), "angle": numbers(1)}), spec) {
		t.Error("one value more does not extend")
	}
	for name, axes := range map[string]axesByName{
		"one value less":   {"width": numbers(1, 3), "angle": numbers(1)},
		"one axis less":    {"width": numbers(1, 2)},
		"one axis more":    {"width": numbers(1, 2), "angle": numbers(1), "noise": numbers(1)},
		"another axis":     {"width": numbers(1, 2), "noise": numbers(1)},
		"no axes any more": nil,
	} {
		if Extends(newOwnSpec("several", axes), spec) {
			t.Errorf("%s is taken for an extension", name)
		}
	}
}

func TestIndexOfStrangersOnOwnAxes(t *testing.T) {
	g, err := New(newOwnSpec("several", axesByName{"width": numbers(1, 2), "angle": numbers(0, 1)}))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(values map[string]*trellisv1.Value){
		"another value": func(values map[string]*trellisv1.Value) { values["width"] = trellisv1.IntegerValue(3) },
		"another kind":  func(values map[string]*trellisv1.Value) { values["width"] = trellisv1.TextValue("1") },
		"another axis": func(values map[string]*trellisv1.Value) {
			values["noise"] = values["angle"]
			delete(values, "angle")
		},
		"one axis less": func(values map[string]*trellisv1.Value) { delete(values, "angle") },
		"one axis more": func(values map[string]*trellisv1.Value) { values["noise"] = trellisv1.NumberValue(0) },
		"none":          func(values map[string]*trellisv1.Value) { clear(values) },
	} {
		p := g.At(0)
		change(p.Values)
		if index, ok := g.Index(p); ok {
			t.Errorf("%s: a point that is not in the grid has index %d", name, index)
		}
	}
}

func TestCheckModels(t *testing.T) {
	if err := testModels.Check(); err != nil {
		t.Error(err)
	}
	axis := func(axis *trellisv1.ModelAxis) Models { return Models{{Name: "a", Axes: []*trellisv1.ModelAxis{axis}}} }
	for name, models := range map[string]Models{
		"no name":                   {{}},
		"a name twice":              {{Name: "a"}, {Name: "a"}},
		"an axis without a name":    axis(&trellisv1.ModelAxis{Maximum: 1, Kind: trellisv1.Kind_KIND_NUMBER}),
		"a name that is no word":    axis(&trellisv1.ModelAxis{Name: "a b", Maximum: 1, Kind: trellisv1.Kind_KIND_NUMBER}),
		"a name that all have":      axis(&trellisv1.ModelAxis{Name: "seed", Maximum: 1, Kind: trellisv1.Kind_KIND_NUMBER}),
		"no values":                 axis(&trellisv1.ModelAxis{Name: "a", Kind: trellisv1.Kind_KIND_NUMBER}),
		"no largest value":          axis(&trellisv1.ModelAxis{Name: "a", Maximum: math.Inf(1), Kind: trellisv1.Kind_KIND_NUMBER}),
		"a default out of bounds":   axis(&trellisv1.ModelAxis{Name: "a", Maximum: 1, Default: trellisv1.NumberValue(2.0), Kind: trellisv1.Kind_KIND_NUMBER}),
		"a default that is not one": axis(&trellisv1.ModelAxis{Name: "a", Maximum: 1, Default: trellisv1.NumberValue(0.5), Kind: trellisv1.Kind_KIND_INTEGER}),
	} {
		if models.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
