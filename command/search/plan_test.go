package search

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"regexp"
	"strings"
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
	"trellis/results/lattice"
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
			options := planOptions{data: &node.DataOptions{}, slots: 1, probe: silent}
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

// Which point is measured does not depend on the order of values: an encoder is trained if any is, and images are moved
// if any are.
func TestPlanMeasuresWhatTakesNoCodes(t *testing.T) {
	for _, axes := range []string{
		"fine_tune: 0, shift: [0, 2]", "fine_tune: 0, shift: [2, 0]", "fine_tune: [0, 1], shift: [0, 2]",
		"fine_tune: [1, 0], shift: [2, 0]",
	} {
		wanted, err := spec.Parse("x.yaml", []byte("name: x\nmodel: classifier\ndata: anything\nsplit: {train: 32, validation: 16}\n"+
			"pretrained: {study: base}\ngrid: {learning_rate: 1e-3, max_epochs: 2, "+axes+"}\n"))
		if err != nil {
			t.Fatal(err)
		}
		complete := preview(wanted)
		its, err := lattice.Of(complete)
		if err != nil {
			t.Fatal(err)
		}
		point := probePoint(complete, its)
		tuned, _ := point.Values["fine_tune"].Numeric()
		shift, _ := point.Values["shift"].Numeric()
		if want := strings.Contains(axes, "1"); tuned > 0 != want || shift != 2 {
			t.Errorf("%s: measured with fine_tune %g and shift %g", axes, tuned, shift)
		}
	}
}

// The probe keeps codes of its few images, which a study of many may not: its epochs are longer by what that saves.
func TestPlanCountsCodesOfTheProbe(t *testing.T) {
	size := grid.Size{Train: 100, Evaluate: 50, TrainSaved: 90, EvaluateSaved: 45, Kept: func(train, others uint64) uint64 {
		if train+others > 1000 {
			return 0
		}
		return train + others
	}}
	for _, test := range []struct {
		train uint32
		want  float64
	}{{800, 8}, {8000, 800}} {
		split := &trellisv1.Split{Train: test.train, Validation: test.train / 8}
		operations, _ := size.Epoch(split, 10)
		got := longer(size, split, 100, 12, &trellisv1.ModelSize{Operations: operations})
		if math.Abs(got-test.want) > 0.02*test.want {
			t.Errorf("with %d images, an epoch takes %g times as long as one of the probe, want %g", test.train, got, test.want)
		}
	}
}

// A network of which a few images alone would take longer than anybody waits is measured on fewer pixels.
func TestProbeOfLargeNetworks(t *testing.T) {
	for _, test := range []struct {
		model                   string
		filters, kernel, hidden int64
		height, width           uint32
		wantHigh, wantWide      uint32
	}{
		{"conv-autoencoder", 8, 3, 64, 32, 32, 32, 32},
		{"conv-autoencoder", 8, 3, 64, 256, 256, 256, 256},
		{"conv-autoencoder", 8, 3, 512, 256, 256, 256, 256}, // It has many weights, each of which is used once.
		{"conv-autoencoder", 64, 5, 64, 256, 200, 64, 50},
		{"variational-autoencoder", 64, 5, 0, 256, 256, 32, 32},
		{"conv-autoencoder", 256, 5, 64, 17, 17, 17, 17}, // On fewer pixels there is none.
	} {
		input := &trellisv1.ModelInput{Channels: 4, Height: test.height, Width: test.width, Classes: 10}
		point := &trellisv1.Parameters{Values: map[string]*trellisv1.Value{
			"latent_dim": trellisv1.IntegerValue(8), "filters": trellisv1.IntegerValue(test.filters),
			"kernel": trellisv1.IntegerValue(test.kernel), "depth": trellisv1.IntegerValue(3),
		}}
		if test.hidden > 0 {
			point.Values["hidden"] = trellisv1.IntegerValue(test.hidden)
		}
		size, err := node.Size(test.model, input, point)
		if err != nil {
			t.Fatal(err)
		}
		used, its := affordable(test.model, input, point, size)
		if used.GetHeight() != test.wantHigh || used.GetWidth() != test.wantWide || used.GetChannels() != 4 {
			t.Errorf("%v: measured with images of %v", test, used)
		}
		if again, err := node.Size(test.model, used, point); err != nil || again.Train != its.Train || again.Memory != its.Memory {
			t.Errorf("%v: %v, want %v, %v", test, its, again, err)
		}
	}
}

// A dry run says that it measures. It trains nothing that there is no room for, and says why it does not know the time.
func TestDryRunSaysWhatItMeasures(t *testing.T) {
	for _, test := range []struct {
		free        uint64
		said, table string
	}{
		{1 << 40, "Measuring how long an epoch of conv-autoencoder takes on this machine.\n", "| time per epoch "},
		{
			1 << 20, "How long an epoch of conv-autoencoder takes is not known: measuring it takes 1[0-9] MiB of memory, and this " +
				"machine has 1.0 MiB free.\n", `| time +\| unknown: no epoch has been measured +\|`,
		},
	} {
		wanted, err := spec.Parse("x.yaml", []byte("name: x\nmodel: conv-autoencoder\ndata: anything\n"+
			"split: {train: 32, validation: 16}\ngrid: {latent_dim: 4, learning_rate: 1e-3, max_epochs: 2}\n"))
		if err != nil {
			t.Fatal(err)
		}
		var said, table strings.Builder
		for name, known := range map[string]*trellisv1.PlanStudyResponse{
			"without a coordinator": nil,
			"with a coordinator": {
				Trials: 1, Runs: 1, Epochs: 2, Forecast: &trellisv1.Forecast{Epochs: &trellisv1.Estimate{High: 2}, Slots: 1},
			},
		} {
			if known == nil && test.free > 1<<30 {
				continue // Once is enough to measure.
			}
			said.Reset()
			table.Reset()
			plan, err := completePlan(t.Context(), wanted, known, planOptions{
				data: &node.DataOptions{}, probe: prober{notices: &said, free: test.free},
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := writePlan(&table, output.Table, wanted, plan, fake.Now); err != nil {
				t.Fatal(err)
			}
			if !regexp.MustCompile("^" + test.said + "$").MatchString(said.String()) {
				t.Errorf("%s, with %d bytes: it said %q", name, test.free, said.String())
			}
			if !regexp.MustCompile(test.table).MatchString(table.String()) {
				t.Errorf("%s, with %d bytes:\n%s", name, test.free, table.String())
			}
		}
	}
}

// silent measures without a word.
var silent = prober{notices: io.Discard, free: math.MaxUint64}

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
	plan, err := completePlan(t.Context(), wanted, known, planOptions{data: &node.DataOptions{}, probe: silent})
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
	plan, err := completePlan(t.Context(), wanted, known, planOptions{data: &node.DataOptions{}, probe: silent})
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
		{"a large network, many to validate", 1000, 50_000, side(64), 1e9, 64, 192},
		{"one of the largest networks", 50_000, 10_000, side(256), 1e11, 16, 3},
	} {
		split := &trellisv1.Split{Train: test.train, Validation: test.validation}
		train, validation := probeSize(split, test.input, grid.Size{Train: test.operations, Evaluate: test.operations / 3})
		if train != test.wantTrain || validation != test.wantValidation {
			t.Errorf("%s: measured with %d and %d images, want %d and %d", test.name, train, validation, test.wantTrain,
				test.wantValidation)
		}
	}
}
