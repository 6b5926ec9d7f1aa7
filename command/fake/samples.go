package fake

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
)

// Models are one without anything of its own, and one with all there is.
func Models() []*trellisv1.Model {
	return []*trellisv1.Model{
		{Name: "plain", Summary: "one that has no axes of its own", Loss: "mean squared error per pixel"},
		{
			Name: "classifier", Summary: "one that has all there is", Data: true,
			Pretrained: []string{"plain", "noisy"},
			Axes: []*trellisv1.ModelAxis{
				{Name: "noise", Maximum: 10, ExclusiveMinimum: true, Kind: trellisv1.Kind_KIND_NUMBER},
				{Name: "fine_tune", Maximum: 1, Default: trellisv1.IntegerValue(0), Kind: trellisv1.Kind_KIND_INTEGER},
				{Name: "weight", Summary: "of something", Minimum: 0.5, Maximum: 1000, Default: trellisv1.NumberValue(1.5), Kind: trellisv1.Kind_KIND_NUMBER},
			},
			Loss:    "cross-entropy",
			Metrics: []*trellisv1.ModelMetric{{Name: "accuracy", Summary: "share"}, {Name: "recall"}},
		},
	}
}

// Trials has what is hard to write: one that has diverged, a zero, a value that is not set, a loss of no round number,
// a text with every separator.
func Trials() []*trellisv1.Trial {
	return []*trellisv1.Trial{
		{
			Study: "sample", Index: 0, Run: "0123456789abcdef0123456789abcdef",
			Parameters:     &trellisv1.Parameters{MaxEpochs: 2, Seed: 1, Values: trellisv1.ValuesOf(map[string]any{"latent_dim": 16, "learning_rate": 1e-3, "weight_decay": 0.0, "batch_size": 256})},
			State:          trellisv1.TrialState_TRIAL_STATE_SUCCEEDED,
			Objective:      proto.Float64(0.012345678901234567),
			TestLoss:       proto.Float64(1.0 / 3),
			BestEpoch:      2,
			Epochs:         2,
			TrainLoss:      []float64{0.1, 0.02},
			ValidationLoss: []float64{0.2, 0.012345678901234567},
		},
		{
			Study: "sample", Index: 1, Run: "fedcba9876543210fedcba9876543210",
			Parameters:     &trellisv1.Parameters{MaxEpochs: 2, Seed: 1, Values: trellisv1.ValuesOf(map[string]any{"latent_dim": 784, "learning_rate": 0.00031622776601683794, "weight_decay": 1e-5, "batch_size": 256})},
			State:          trellisv1.TrialState_TRIAL_STATE_DIVERGED,
			Objective:      proto.Float64(math.NaN()),
			TestLoss:       proto.Float64(math.NaN()),
			Epochs:         1,
			TrainLoss:      []float64{math.Inf(1)},
			ValidationLoss: []float64{math.NaN()},
		},
		{
			Study: "sample", Index: 4, Run: "00112233445566778899aabbccddeeff",
			Parameters: &trellisv1.Parameters{MaxEpochs: 10000, Values: trellisv1.ValuesOf(map[string]any{"latent_dim": 1, "learning_rate": 1.0, "weight_decay": 0.0, "batch_size": 1})},
			State:      trellisv1.TrialState_TRIAL_STATE_FAILED,
			Error:      "out of memory: \"a, b\"\n- c: d",
		},
	}
}

// MeasuredTrials have metrics, but for the first: one that is not set, a NaN, one of the test images alone.
func MeasuredTrials() []*trellisv1.Trial {
	trials := Trials()
	trials[0], trials[2] = trials[2], trials[0]
	trials[1].Metrics = map[string]float64{"accuracy": math.NaN(), "top_three": 1}
	trials[2].Metrics = map[string]float64{"accuracy": 0.9871}
	trials[2].TestMetrics = map[string]float64{"accuracy": 2.0 / 3, "recall": 0.5}
	return trials
}

// NoisyTrials are the samples with a value on two axes that only their model has.
func NoisyTrials() []*trellisv1.Trial {
	trials := Trials()
	for i, trial := range trials {
		trial.Parameters.Values["noise"] = trellisv1.NumberValue(1 / float64(3*i+3))
		trial.Parameters.Values["divergence_weight"] = trellisv1.NumberValue(1)
	}
	return trials
}

// Study is the study of the sample trials, completed.
func Study() *trellisv1.Study {
	return &trellisv1.Study{
		Name: "sample",
		Spec: &trellisv1.StudySpec{
			Name: "sample", Model: "conv-autoencoder", Data: "mnist", Grid: []*trellisv1.Grid{{
				Axes: map[string]*trellisv1.Axis{
					"latent_dim": trellisv1.AxisOf(16), "learning_rate": trellisv1.AxisOf(1e-3),
					"weight_decay": trellisv1.AxisOf(0.0), "max_epochs": trellisv1.AxisOf(2),
					"batch_size": trellisv1.AxisOf(256),
				},
			}},
		},
		State: trellisv1.StudyState_STUDY_STATE_COMPLETED,
		Progress: &trellisv1.Progress{
			Trials: 3, TrialsSucceeded: 2, TrialsFailed: 1, Runs: 3, RunsSucceeded: 2, RunsFailed: 1, Epochs: 3,
			TrainingSeconds: 1.5,
		},
		CreateTime: timestamppb.New(time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)),
	}
}

// Now is when the samples are written.
var Now = time.Date(2026, 11, 23, 23, 50, 0, 0, time.UTC)

// Forecast is a forecast with an interval and alternatives.
func Forecast() *trellisv1.Forecast {
	return &trellisv1.Forecast{
		Epochs:     &trellisv1.Estimate{Expected: 3100.4, Low: 2900, High: 3400},
		Seconds:    &trellisv1.Estimate{Expected: 2820, Low: 2520, High: 3500},
		Confidence: 0.9, Slots: 8, SecondsPerEpoch: 5.25,
		Basis:        &trellisv1.ForecastBasis{OtherEpochs: 1700, OtherStudies: 2},
		Alternatives: []*trellisv1.Forecast_Alternative{{Slots: 4, Seconds: 5500}, {Slots: 16, Seconds: 1500}},
	}
}

// ExampleStudies are the examples that are the specs of studies.
func ExampleStudies(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("../../examples/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	paths = slices.DeleteFunc(paths, func(path string) bool {
		return strings.HasPrefix(filepath.Base(path), "reproduce")
	})
	if len(paths) < 4 {
		t.Fatalf("examples of studies are %v", paths)
	}
	return paths
}
