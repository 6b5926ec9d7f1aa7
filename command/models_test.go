package command

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

func sampleModels() []*trellisv1.Model {
	return []*trellisv1.Model{
		{Name: "plain", Summary: "one that has no axes of its own", Loss: "mean squared error per pixel"},
		{
			Name: "classifier", Summary: "one that has all there is", Data: true, Pretrained: []string{"plain", "noisy"},
			Axes: []*trellisv1.ModelAxis{
				{Name: "noise", Maximum: 10, ExclusiveMinimum: true},
				{Name: "fine_tune", Integer: true, Maximum: 1, Default: new(0.0)},
				{Name: "weight", Summary: "of something", Minimum: 0.5, Maximum: 1000, Default: new(1.5)},
			},
			Loss:    "cross-entropy",
			Metrics: []*trellisv1.ModelMetric{{Name: "accuracy", Summary: "share"}, {Name: "recall"}},
		},
	}
}

// TestKnownModels: all that the trainer says of its models is passed on, and a coordinator takes them.
func TestKnownModels(t *testing.T) {
	models, described := knownModels(), trainer.Models()
	if err := models.Check(); err != nil {
		t.Error(err)
	}
	if len(models) != len(described) || len(models) < 2 {
		t.Fatalf("%d models, %d described", len(models), len(described))
	}
	for i, want := range described {
		got := models[i]
		if got.GetName() != want.Name || got.GetSummary() != want.Summary || got.GetData() != want.Data || got.GetLoss() != want.Loss ||
			strings.Join(got.GetPretrained(), " ") != strings.Join(want.Pretrained, " ") || len(got.GetAxes()) != len(want.Axes) ||
			len(got.GetMetrics()) != len(want.Metrics) {
			t.Errorf("got %v, want %+v", got, want)
			continue
		}
		for j, axis := range want.Axes {
			if got := got.GetAxes()[j]; !proto.Equal(got, &trellisv1.ModelAxis{
				Name: axis.Name, Summary: axis.Summary, Integer: axis.Integer, Minimum: axis.Minimum, Maximum: axis.Maximum,
				ExclusiveMinimum: axis.ExclusiveMinimum, Default: axis.Default,
			}) {
				t.Errorf("got %v, want %+v", got, axis)
			}
		}
		for j, metric := range want.Metrics {
			if got := got.GetMetrics()[j]; got.GetName() != metric.Name || got.GetSummary() != metric.Summary {
				t.Errorf("got %v, want %+v", got, metric)
			}
		}
	}
}

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
	want, err := parseSpec("long.yaml", []byte(long))
	if err != nil {
		t.Fatal(err)
	}
	if axis := want.GetGrid()[0].GetAxes()["fine_tune"]; !proto.Equal(axis, &trellisv1.NumberAxis{Values: []float64{0, 1}}) {
		t.Fatalf("read %v", want)
	}
	written, err := specYAML(want)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(written), "\n  fine_tune: [0, 1]\n") || strings.Contains(string(written), "axes") {
		t.Errorf("it is written as\n%s", written)
	}
	// The model may stand below the grid.
	const top, grid = "name: labels\ndata: mnist\npretrained: {study: paper}\n", "grid: {latent_dim: 8, learning_rate: 1e-3, max_epochs: 10, "
	for name, text := range map[string]string{
		"as written":      string(written),
		"beside":          top + grid + "fine_tune: [0, 1]}\nmodel: classifier\n",
		"truth":           top + "model: classifier\n" + grid + "fine_tune: [false, True]}\n",
		"truth in a list": top + "model: classifier\n" + grid + "fine_tune: {values: [false, true]}}\n",
		"JSON": `{"name": "labels", "data": "mnist", "model": "classifier", "pretrained": {"study": "paper"}, "grid": [{"latentDim": 8,
			"learningRate": 0.001, "maxEpochs": 10, "axes": {"fine_tune": [0, 1]}}]}`,
	} {
		got, err := parseSpec(name, []byte(text))
		if err != nil || !proto.Equal(got, want) {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, want)
		}
	}
}

// What is given to extend for a model's own axes.
func TestAxisFlag(t *testing.T) {
	request := new(trellisv1.ExtendStudyRequest)
	flag := axesFlag{&request.Axes}
	for _, text := range []string{"noise=0.2, 0.4", "width=3", "noise=1e-3"} {
		if err := flag.Set(text); err != nil {
			t.Error(err)
		}
	}
	want := &trellisv1.ExtendStudyRequest{Axes: map[string]*trellisv1.NumberAxis{
		"noise": {Values: []float64{0.2, 0.4, 1e-3}}, "width": {Values: []float64{3}},
	}}
	if !proto.Equal(request, want) {
		t.Errorf("got %v, want %v", request, want)
	}
	for text, says := range map[string]string{"noise": "names no axis", "=3": "names no axis", "noise=x": "is not a number", "noise=": "is not a number"} {
		if err := flag.Set(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
}

func TestDescribeOwnAxes(t *testing.T) {
	text := describeParameters(noisyTrials()[0].GetParameters(), axes{})
	if !strings.Contains(text, ", divergence weight 1, noise 0.3333") {
		t.Errorf("described as %s", text)
	}
}

// trellis models asks the coordinator.
func TestModelsCommand(t *testing.T) {
	fake := &fakeCoordinator{models: sampleModels()}
	var out, stderr bytes.Buffer
	if code := Run(context.Background(), []string{"models", "--coordinator", fake.serve(t), "-o", "csv"}, nil, &out, &stderr); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	if text := out.String(); !strings.HasPrefix(text, "name,summary,axes,") || !strings.Contains(text, "fine_tune: 0 or 1, default 0") {
		t.Errorf("wrote\n%s", text)
	}
}
