package answer

import (
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"trellis/command/fake"
	"trellis/command/golden"
	"trellis/command/spec"
	trellisv1 "trellis/proto/trellis/v1"
)

// The ways in which own axes are written in a spec mean the same, and the spec is written as people do.
func TestOwnAxesInSpecs(t *testing.T) {
	const long = `
name: labels
data: mnist
model: classifier
pretrained: {study: paper}
grid:
  - latent_dim: {values: [8]}
    learning_rate: {values: [0.001]}
    max_epochs: {values: [10]}
    axes:
      fine_tune: {values: [0, 1]}
`
	want, err := spec.Parse("long.yaml", []byte(long))
	if err != nil {
		t.Fatal(err)
	}
	if axis := want.GetGrid()[0].GetAxes()["fine_tune"]; !proto.Equal(axis,
		trellisv1.AxisOf(0, 1)) {
		t.Fatalf("read %v", want)
	}
	written, err := spec.YAML(want)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(written), "\n  fine_tune: [0, 1]\n") || strings.Contains(string(written), "axes") {
		t.Errorf("it is written as\n%s", written)
	}
	// The model may stand below the grid.
	const top, grid = "name: labels\ndata: mnist\npretrained: {study: paper}\n",
		"grid: {latent_dim: 8, learning_rate: 1e-3, max_epochs: 10, "
	for name, text := range map[string]string{
		"as written":      string(written),
		"beside":          top + grid + "fine_tune: [0, 1]}\nmodel: classifier\n",
		"truth":           top + "model: classifier\n" + grid + "fine_tune: [false, True]}\n",
		"truth in a list": top + "model: classifier\n" + grid + "fine_tune: {values: [false, true]}}\n",
		"JSON": `{"name": "labels", "data": "mnist", "model": "classifier", "pretrained": {"study": "paper"}, "grid": [{"latentDim": 8,
			"learningRate": 0.001, "maxEpochs": 10, "axes": {"fine_tune": [0, 1]}}]}`,
	} {
		got, err := spec.Parse(name, []byte(text))
		if err != nil || !proto.Equal(got, want) {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, want)
		}
	}
}

// Specs of programs are written in the words of a spec file, and read back as what they were, with values of any kind.
func TestProgramsReadBack(t *testing.T) {
	const written = `name: p
grid:
  amp: [true, false]
  layers: [1, 2]
  model.lr: {step: {from: 0.1, to: 0.5, by: 0.1}}
  rate: [1.0]
  size: [1.0, 1e+30, 2.5]
  text: ["true", "1e-3", "null", a b, "", "1", "yes"]
  max_epochs: [2]
seeds: [1]
early_stopping: {patience: 3, metric: acc, direction: maximize}
program: {command: [train], files: {sha256: 7e6f6411826d4589204e3fc6991e42127f2b6277bf1776093eb492e81090d74d, size: 898, count: 6}, prefix: true}
objective: {metric: acc, direction: maximize, of: {mean: 5}}
resources: {memory: 8589934592}
`
	for _, text := range []string{
		written, strings.Replace(written, "{mean: 5}", "best", 1), strings.Replace(written, "{mean: 5}", "last", 1),
	} {
		want, err := spec.Parse("p.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		got, err := spec.YAML(want)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != text {
			t.Errorf("got\n%s\nwant\n%s", got, text)
		}
	}
}

// A suggestion is a spec that is read back as what was suggested, short and with its reasons.
func TestGoldenSuggestion(t *testing.T) {
	spec, err := spec.Parse("spec.yaml", []byte(`
name: sample-2
data: mnist
model: conv-autoencoder
grid: {latent_dim: [11, 16, 32], learning_rate: [3e-4, 1e-3, 0.0031622776601683794], weight_decay: [0, 1e-5], max_epochs: [60]}
seeds: [1, 2]
early_stopping: {patience: 10, min_delta: 1e-5}
settle: {max_seeds: 5}
pruning: asha
`))
	if err != nil {
		t.Fatal(err)
	}
	text, err := suggestionText("sample", &trellisv1.SuggestStudyResponse{
		Spec: spec, Pruned: 2, Axes: []*trellisv1.AxisChoice{
			{
				Axis: "latent_dim", Values: trellisv1.AxisOf(11, 16, 32).GetValues(),
				Reason: trellisv1.AxisChoice_REASON_LARGEST_TRIED, Best: trellisv1.IntegerValue(16),
				Total: 0.716,
			},
			{
				Axis: "learning_rate", Values: trellisv1.AxisOf(3e-4, 1e-3, 0.0031622776601683794).GetValues(),
				Best: trellisv1.NumberValue(1e-3), Below: trellisv1.NumberValue(1e-4), Above: trellisv1.NumberValue(1e-2),
				Reason: trellisv1.AxisChoice_REASON_BETWEEN, Total: 0.25,
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	golden.Check(t, "testdata/output/suggestion.yaml", string(text))
}

// Every example can be written as a spec, and is read back as what it was.
func TestSpecsReadBack(t *testing.T) {
	for _, path := range fake.ExampleStudies(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want, err := spec.Parse(path, text)
		if err != nil {
			t.Fatal(err)
		}
		written, err := spec.YAML(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := spec.Parse(path, written)
		if err != nil {
			t.Fatalf("%v in\n%s", err, written)
		}
		if !proto.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", path, got, want)
		}
	}
}

// What would not be read back as it is meant is not written.
func TestSuggestionThatIsNotValid(t *testing.T) {
	_, err := suggestionText("sample", &trellisv1.SuggestStudyResponse{Spec: &trellisv1.StudySpec{Name: "sample-2"}})
	if err == nil || !strings.Contains(err.Error(), "missing what to train") {
		t.Errorf("got %v", err)
	}
}
