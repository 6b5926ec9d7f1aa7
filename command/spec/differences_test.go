package spec

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// A spec equals what a coordinator has made of it, and nothing else.
func TestDifferences(t *testing.T) {
	read := func(text string) *trellisv1.StudySpec {
		spec, err := Parse("spec.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return spec
	}
	const text = `
name: some
data: mnist
model: conv-autoencoder
grid: {latent_dim: [4, 8], learning_rate: 1e-3, max_epochs: 4}
early_stopping: {patience: 10, min_delta: 1e-5}
`
	admitted := Models().WithDefaults(read(text))
	admitted.Split = &trellisv1.Split{Train: 50000, Validation: 10000}
	for _, test := range []struct{ name, old, new, want string }{
		{"the same", "", "", ""},
		{
			"written another way", "grid: {latent_dim: [4, 8]", "seeds: [1]\ngrid: {weight_decay: 0, latent_dim: " +
				"[4, 8]", "",
		},
		{"the default split", "data: mnist", "data: mnist\nsplit: {train: 50000, validation: 10000}", ""},
		{"another grid", "[4, 8]", "[4, 16]", "grid"},
		{"another order", "[4, 8]", "[8, 4]", "grid"},
		{"another split", "data: mnist", "data: mnist\nsplit: {train: 50000, validation: 5000}", "split"},
		{"never stopping early", "early_stopping", "#", "early_stopping"},
		{"other seeds and data", "data: mnist", "data: digits\nseeds: [1, 2]", "data seeds"},
	} {
		spec := read(strings.Replace(text, test.old, test.new, 1))
		before := proto.CloneOf(spec)
		if got := strings.Join(differences(spec, admitted), " "); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
		if !proto.Equal(spec, before) {
			t.Errorf("%s: the spec has become %v", test.name, spec)
		}
	}
}

// A spec that leaves the latent dimension to the study that its weights come from equals what has become of it.
func TestDifferencesFromASource(t *testing.T) {
	latent := func(values ...uint32) []*trellisv1.Grid {
		return []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
			"latent_dim":    trellisv1.AxisOf[uint32](values...),
			"learning_rate": trellisv1.AxisOf[float64](1),
			"max_epochs":    trellisv1.AxisOf[int](1),
		}}}
	}
	spec := &trellisv1.StudySpec{Name: "classes", Pretrained: &trellisv1.Pretrained{Study: "paper"}, Grid: latent()}
	delete(spec.Grid[0].Axes, "latent_dim")
	admitted := Models().WithDefaults(spec)
	admitted.Grid[0].Axes["latent_dim"] = trellisv1.AxisOf(16)
	study := &trellisv1.Study{
		Spec:       admitted,
		Pretrained: &trellisv1.Source{Study: "paper", Parameters: &trellisv1.Parameters{Values: trellisv1.ValuesOf(map[string]any{"latent_dim": 16})}},
	}
	for _, test := range []struct {
		change func(*trellisv1.StudySpec)
		want   string
	}{
		{func(*trellisv1.StudySpec) {}, ""},
		{func(s *trellisv1.StudySpec) { s.Grid[0].Axes["latent_dim"] = trellisv1.AxisOf(16) }, ""},
		{func(s *trellisv1.StudySpec) { s.Grid[0].Axes["latent_dim"] = trellisv1.AxisOf(8) }, "grid"},
		{func(s *trellisv1.StudySpec) { s.Pretrained.Study = "other" }, "pretrained"},
	} {
		changed := proto.CloneOf(spec)
		test.change(changed)
		if got := strings.Join(Differences(changed, study), " "); got != test.want {
			t.Errorf("%v: got %q, want %q", changed, got, test.want)
		}
	}
}

// A study that was created before there were the axes of a shape equals one with their defaults, and no other.
func TestDifferencesFromAnOlderStudy(t *testing.T) {
	spec := &trellisv1.StudySpec{Name: "old", Model: "conv-autoencoder", Grid: []*trellisv1.Grid{{
		Axes: map[string]*trellisv1.Axis{"latent_dim": trellisv1.AxisOf(4), "max_epochs": trellisv1.AxisOf(2)},
	}}}
	old := Models().WithDefaults(spec)
	for _, name := range []string{"filters", "depth", "kernel", "hidden", "loss"} {
		delete(old.Grid[0].Axes, name)
	}
	study := &trellisv1.Study{Spec: old}
	if got := Differences(spec, study); len(got) > 0 {
		t.Errorf("the same spec differs in %q", got)
	}
	spec.Grid[0].Axes["filters"] = trellisv1.AxisOf(9)
	if got := strings.Join(Differences(spec, study), " "); got != "grid" {
		t.Errorf("other filters differ in %q, want the grid", got)
	}
}
