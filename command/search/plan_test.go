package search

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"trellis/command/fake"
	"trellis/command/golden"
	"trellis/command/node"
	"trellis/command/output"
	"trellis/command/spec"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// What studies would cost, in each format.
func TestGoldenPlans(t *testing.T) {
	t.Setenv("TZ", "UTC")
	cost := func(format output.Format, out *bytes.Buffer) error {
		return writePlan(out, format, &trellisv1.StudySpec{Name: "sample"}, &trellisv1.PlanStudyResponse{
			Trials: 3, Runs: 2, Epochs: 300, EpochsAlone: 450, Forecast: bound(2, 300, 200, 33.25, 8, &trellisv1.ForecastBasis{EpochTime: true}),
		}, fake.Now)
	}
	plan := func(format output.Format, out *bytes.Buffer) error {
		return writePlan(out, format, &trellisv1.StudySpec{Name: "sample"}, &trellisv1.PlanStudyResponse{
			Trials: 108, Runs: 36, Epochs: 5400, EpochsAlone: 10800, RunsShared: 12, EpochsShared: 1700,
			SecondsShared: 860, EpochsAgain: 20,
			Forecast: fake.Forecast(),
			Smallest: &trellisv1.ModelSize{Weights: 17_657, Operations: 22.6e9, Memory: 9 << 20},
			Largest:  &trellisv1.ModelSize{Weights: 164_177, Operations: 586e9, Memory: 20 << 20},
		}, fake.Now)
	}
	nothing := func(format output.Format, out *bytes.Buffer) error {
		return writePlan(out, format, &trellisv1.StudySpec{Name: "sample"}, &trellisv1.PlanStudyResponse{
			Trials: 3, Runs: 1, Epochs: 30, EpochsAlone: 60, RunsShared: 1, EpochsShared: 30, SecondsShared: 1.5,
			Forecast: &trellisv1.Forecast{
				Epochs: &trellisv1.Estimate{}, Seconds: &trellisv1.Estimate{},
				Confidence: 0.9,
			},
		}, fake.Now)
	}
	without := func(format output.Format, out *bytes.Buffer) error {
		return writePlan(out, format, &trellisv1.StudySpec{Name: "sample"}, &trellisv1.PlanStudyResponse{
			Trials: 40, LeftOut: 68, Runs: 20, Epochs: 300, EpochsAlone: 450,
			Forecast: bound(2, 300, 200, 33.25, 8, &trellisv1.ForecastBasis{EpochTime: true}),
		}, fake.Now)
	}
	within := func(format output.Format, out *bytes.Buffer) error {
		axis := func() *trellisv1.Axis {
			return &trellisv1.Axis{Linear: &trellisv1.Range{From: 1, To: 10_000, Count: 10_000}}
		}
		return writePlan(out, format, &trellisv1.StudySpec{
			Name: "sample", Model: "synthetic", Budget: &trellisv1.Budget{Trials: 500, Time: durationpb.New(8 * time.Hour)},
			Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
				"latent_dim": trellisv1.AxisOf(4), "learning_rate": axis(), "weight_decay": axis(), "batch_size": axis(),
				"max_epochs": trellisv1.AxisOf(50),
			}}},
		}, &trellisv1.PlanStudyResponse{
			Trials: 500, Runs: 500, Epochs: 25_000, EpochsAlone: 25_000,
			Forecast: bound(500, 25_000, 50, 33.25, 8, &trellisv1.ForecastBasis{EpochTime: true}),
		}, fake.Now)
	}
	golden.CheckListing(t, "budget_plan", func(format string, out *bytes.Buffer) error {
		return within(output.Format(format), out)
	})
	golden.CheckListing(t, "where_plan", func(format string, out *bytes.Buffer) error {
		return without(output.Format(format), out)
	})
	golden.CheckListing(t, "estimate", func(format string, out *bytes.Buffer) error {
		return cost(output.Format(format), out)
	})
	golden.CheckListing(t, "plan", func(format string, out *bytes.Buffer) error {
		return plan(output.Format(format), out)
	})
	golden.CheckListing(t, "known_plan", func(format string, out *bytes.Buffer) error {
		return nothing(output.Format(format), out)
	})
}

// A dry run takes what submit takes: every model, and each with the least that a spec of it may say.
func TestDryRunTakesWhatIsValid(t *testing.T) {
	for _, model := range spec.Models() {
		t.Run(model.GetName(), func(t *testing.T) {
			t.Parallel()
			text := "name: x\nmodel: " + model.GetName() + "\ngrid: {max_epochs: 2"
			for _, axis := range model.GetAxes() {
				if axis.Default == nil && (axis.GetName() != "latent_dim" || model.GetPretrained() == nil) {
					text += fmt.Sprintf(", %s: 1", axis.GetName())
				}
			}
			text += "}\n"
			if model.GetData() {
				text += "data: anything\nsplit: {train: 32, validation: 16}\n"
			}
			if model.GetPretrained() != nil {
				text += "pretrained: {study: base}\n"
			}
			wanted, err := spec.Parse("x.yaml", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			options := planOptions{data: &node.DataOptions{}, slots: 1}
			for name, known := range map[string]*trellisv1.PlanStudyResponse{
				"without a coordinator": nil,
				"with a coordinator":    {Forecast: &trellisv1.Forecast{Epochs: &trellisv1.Estimate{High: 2}}},
			} {
				if _, err := completePlan(t.Context(), wanted, known, options); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

// The data set of a study need not be on the machine that asks for a plan.
func TestPlanNeedsNoDataHere(t *testing.T) {
	wanted, err := spec.Parse("x.yaml", []byte("name: x\nmodel: conv-autoencoder\ndata: elsewhere\n"+
		"grid: {latent_dim: 4, learning_rate: 1e-3, max_epochs: 2}\n"))
	if err != nil {
		t.Fatal(err)
	}
	known := &trellisv1.PlanStudyResponse{
		Forecast: &trellisv1.Forecast{Epochs: &trellisv1.Estimate{High: 2}, Slots: 1},
		Split:    &trellisv1.Split{Train: 32, Validation: 16},
	}
	plan, err := completePlan(t.Context(), wanted, known, planOptions{data: &node.DataOptions{}})
	if err != nil {
		t.Fatal(err)
	}
	if probe := plan.GetForecast().GetBasis().GetProbe(); probe.GetTrainImages() != 32 || probe.GetInputAssumed() {
		t.Errorf("measured with %v", probe)
	}
}

// What is measured here for a cluster is measured with as many runs at once as it has slots.
func TestPlanMeasuresOnSlotsThatThereAre(t *testing.T) {
	wanted, err := spec.Parse("x.yaml", []byte("name: x\nmodel: conv-autoencoder\ndata: anything\n"+
		"split: {train: 32, validation: 16}\ngrid: {latent_dim: 4, learning_rate: 1e-3, max_epochs: 2}\n"))
	if err != nil {
		t.Fatal(err)
	}
	known := &trellisv1.PlanStudyResponse{Forecast: &trellisv1.Forecast{Epochs: &trellisv1.Estimate{High: 2}, Slots: 1}}
	plan, err := completePlan(t.Context(), wanted, known, planOptions{data: &node.DataOptions{}})
	if err != nil {
		t.Fatal(err)
	}
	if !plan.GetForecast().GetBasis().GetProbe().GetInputAssumed() {
		t.Error("it does not say that it has assumed the size of the images")
	}
	if f := plan.GetForecast(); f.GetSlots() != 1 || f.GetBasis().GetProbe().GetTrainings() != 1 {
		t.Errorf("planned for %d slots, %v", f.GetSlots(), f.GetBasis())
	}
}

// What is measured on is bounded by its pixels and operations: the largest images and networks take little more time
// than small ones.
func TestProbeIsBounded(t *testing.T) {
	side := func(n uint32) *trellisv1.ModelInput { return &trellisv1.ModelInput{Channels: 4, Height: n, Width: n} }
	for _, test := range []struct {
		name                      string
		train, validation         uint32
		input                     *trellisv1.ModelInput
		operations                uint64
		wantTrain, wantValidation int
	}{
		{"digits", 50_000, 10_000, nil, 2e6, 2048, 409},
		{"few digits", 32, 16, nil, 2e6, 32, 16},
		{"few digits, many to validate", 100, 50_000, nil, 2e6, 42, 21_000},
		{"the largest images", 50_000, 10_000, side(256), 2e6, 213, 42},
		{"the largest images, one to train", 1, 10_000, side(256), 2e6, 1, 256},
		{"the largest images, one to validate", 10_000, 1, side(256), 2e6, 255, 1},
		{"a large network", 50_000, 10_000, side(256), 1e9, 64, 12},
		{"one of the largest networks", 50_000, 10_000, side(256), 1e11, 16, 3},
	} {
		split := &trellisv1.Split{Train: test.train, Validation: test.validation}
		train, validation := probeSize(split, test.input, grid.Size{Train: test.operations})
		if train != test.wantTrain || validation != test.wantValidation {
			t.Errorf("%s: measured with %d and %d images, want %d and %d", test.name, train, validation, test.wantTrain,
				test.wantValidation)
		}
	}
}
