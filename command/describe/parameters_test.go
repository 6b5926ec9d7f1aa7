package describe

import (
	"slices"
	"strings"
	"testing"

	"trellis/command/fake"
	trellisv1 "trellis/proto/trellis/v1"
)

func TestDescribeOwnAxes(t *testing.T) {
	text := Parameters(fake.NoisyTrials()[0].GetParameters(), Axes{})
	if !strings.Contains(text, ", divergence weight 1, noise 0.3333") {
		t.Errorf("described as %s", text)
	}
}

func TestHasDefaultShape(t *testing.T) {
	model := &trellisv1.Model{Axes: []*trellisv1.ModelAxis{
		{Name: "latent_dim"},
		{Name: "filters", Default: trellisv1.IntegerValue(8)},
		{Name: "loss", Default: trellisv1.TextValue("mse")},
	}}
	for _, test := range []struct {
		values map[string]any
		want   bool
	}{
		{map[string]any{"latent_dim": 4}, true}, // Of an older version.
		{map[string]any{"latent_dim": 4, "filters": 8, "loss": "mse"}, true},
		{map[string]any{"latent_dim": 4, "filters": 16, "loss": "mse"}, false},
		{map[string]any{"latent_dim": 4, "filters": 8, "loss": "bce"}, false},
		{map[string]any{"latent_dim": 4, "depth": 3}, false}, // This version does not know the axis.
	} {
		if got := HasDefaultShape(&trellisv1.Parameters{Values: trellisv1.ValuesOf(test.values)}, model); got != test.want {
			t.Errorf("%v: %v", test.values, got)
		}
	}
}

// A table has columns for those axes of the shape alone that vary, of one study; CSV has all.
func TestConstantShapeHasNoColumns(t *testing.T) {
	spec := func(program *trellisv1.Program) *trellisv1.StudySpec {
		return &trellisv1.StudySpec{Model: "m", Program: program, Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
			"latent_dim": trellisv1.AxisOf(4), "filters": trellisv1.AxisOf(8), "depth": trellisv1.AxisOf(2, 3),
		}}}}
	}
	for want, specs := range map[string][]*trellisv1.StudySpec{
		"latent_dim depth":          {spec(nil)},
		"latent_dim filters depth":  {spec(&trellisv1.Program{})},
		"latent_dim filters  depth": {spec(nil), spec(nil)},
	} {
		columns := ParameterColumns([]string{"latent_dim", "filters", "depth"}, (*trellisv1.Trial).GetParameters)
		var shown []string
		for _, column := range WithoutConstantShape(columns, specs...) {
			if column.Plain == nil {
				t.Errorf("%s is not in CSV", column.Name)
			}
			if column.Short != nil {
				shown = append(shown, column.Name)
			}
		}
		if got := strings.Join(shown, " "); got != strings.Join(strings.Fields(want), " ") {
			t.Errorf("shown are %s, want %s", got, want)
		}
	}
}

// A network's shape is named where trials differ in it, or a program has axes of these names.
func TestShapeIsNamedWhereItVaries(t *testing.T) {
	point := &trellisv1.Parameters{Values: trellisv1.ValuesOf(map[string]any{"latent_dim": 4, "filters": 8, "loss": "mse"})}
	spec := func(change func(*trellisv1.StudySpec)) *trellisv1.StudySpec {
		spec := &trellisv1.StudySpec{Model: "m", Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
			"latent_dim": trellisv1.AxisOf(4, 8), "filters": trellisv1.AxisOf(8),
		}}}}
		change(spec)
		return spec
	}
	for want, change := range map[string]func(*trellisv1.StudySpec){
		"latent 4":                      func(*trellisv1.StudySpec) {},
		"latent 4, filters 8, loss mse": func(s *trellisv1.StudySpec) { s.Grid[0].Axes["filters"] = trellisv1.AxisOf(8, 16) },
		"latent 4, loss mse, filters 8": func(s *trellisv1.StudySpec) { s.Program = &trellisv1.Program{} },
	} {
		got := strings.Split(Parameters(point, VariedAxes(spec(change))), ", ")
		wanted := strings.Split(want, ", ")
		slices.Sort(got)
		slices.Sort(wanted)
		if !slices.Equal(got, wanted) {
			t.Errorf("described as %s, want %s", got, wanted)
		}
	}
}
