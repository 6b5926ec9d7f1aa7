package grid

import (
	"testing"

	"go.uber.org/goleak"

	trellisv1 "trellis/proto/trellis/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testModels have axes of their own in every way: with a default and without, whole and not, several, and none.
var testModels = Models{
	{Name: "conv-autoencoder", Data: true},
	{Name: "synthetic"},
	{Name: "denoising-autoencoder", Data: true, Axes: []*trellisv1.ModelAxis{
		{Name: "noise", Maximum: 10, ExclusiveMinimum: true},
	}},
	{
		Name: "classifier", Data: true, Pretrained: []string{"conv-autoencoder", "denoising-autoencoder"},
		Axes: []*trellisv1.ModelAxis{
			{Name: "fine_tune", Integer: true, Maximum: 1, Default: new(0.0)},
		},
	},
	{Name: "several", Data: true, Axes: []*trellisv1.ModelAxis{
		{Name: "width", Integer: true, Minimum: 1, Maximum: 100, Default: new(3.0)},
		{Name: "angle", Maximum: 1000, Default: new(0.5)},
	}},
}

// newSpec is the spec of the paper's search: 4 x 3 x 3 x 3 trials.
func newSpec() *trellisv1.StudySpec {
	return &trellisv1.StudySpec{
		Name:  "paper",
		Data:  "mnist",
		Model: "conv-autoencoder",
		Grid: []*trellisv1.Grid{{
			LatentDim:    integers(4, 8, 16, 32),
			LearningRate: &trellisv1.NumberAxis{Log10: newRange(1e-4, 1e-2, 3)},
			WeightDecay:  numbers(0, 1e-5, 1e-4),
			MaxEpochs:    integers(50, 100, 150),
		}},
		EarlyStopping: &trellisv1.EarlyStopping{Patience: 10, MinDelta: 1e-5},
	}
}

func newDataSet() *trellisv1.DataSet {
	return &trellisv1.DataSet{Name: "mnist", Digest: "d161", TrainImages: 60_000, TestImages: 10_000}
}

func integers(values ...uint32) *trellisv1.IntegerAxis { return &trellisv1.IntegerAxis{Values: values} }

func numbers(values ...float64) *trellisv1.NumberAxis { return &trellisv1.NumberAxis{Values: values} }

func newRange(from, to float64, count uint32) *trellisv1.Range {
	return &trellisv1.Range{From: from, To: to, Count: count}
}

// largeSpec has 1,000,000 points in two grids. Half of the second's are the first's too: 750,000 trials on 150,000
// runs.
func largeSpec() *trellisv1.StudySpec {
	spec := newSpec()
	spec.Grid = []*trellisv1.Grid{
		{
			LatentDim:    &trellisv1.IntegerAxis{Linear: newRange(1, 100, 100)},
			LearningRate: &trellisv1.NumberAxis{Log10: newRange(1e-5, 1e-1, 500)},
			WeightDecay:  numbers(0, 1e-5),
			MaxEpochs:    integers(10, 20, 30, 40, 50),
		},
		{
			LatentDim:    &trellisv1.IntegerAxis{Linear: newRange(51, 150, 100)},
			LearningRate: &trellisv1.NumberAxis{Log10: newRange(1e-5, 1e-1, 500)},
			WeightDecay:  numbers(0, 1e-5),
			MaxEpochs:    integers(10, 20, 30, 40, 50),
		},
	}
	return spec
}

// unionSpec has 100,000 points in 100 grids of 1,000, each of which overlaps the next.
func unionSpec() *trellisv1.StudySpec {
	spec := newSpec()
	spec.Grid = nil
	for k := range 100 {
		spec.Grid = append(spec.Grid, &trellisv1.Grid{
			LatentDim:    integers(8, 16),
			LearningRate: &trellisv1.NumberAxis{Linear: newRange(float64(k+1), float64(k+50), 50)},
			WeightDecay:  numbers(0, 1e-5),
			MaxEpochs:    integers(10, 20, 30, 40, 50),
		})
	}
	return spec
}
