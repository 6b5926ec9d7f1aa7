package grid

import (
	"slices"
	"testing"

	"go.uber.org/goleak"

	trellisv1 "trellis/proto/trellis/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// commonAxes are those of all testModels.
var commonAxes = []*trellisv1.ModelAxis{
	{Name: LatentDim, Kind: trellisv1.Kind_KIND_INTEGER, Minimum: 1, Maximum: 784, Common: true},
	{Name: LearningRate, Kind: trellisv1.Kind_KIND_NUMBER, Maximum: 1000, ExclusiveMinimum: true, Common: true},
	{
		Name: WeightDecay, Kind: trellisv1.Kind_KIND_NUMBER, Maximum: 1000, Default: trellisv1.NumberValue(0), Common: true,
	},
	{
		Name: BatchSize, Kind: trellisv1.Kind_KIND_INTEGER, Minimum: 1, Maximum: 65_536,
		Default: trellisv1.IntegerValue(256), Common: true,
	},
}

// withAxes are the axes of a model that has these besides the common ones.
func withAxes(own ...*trellisv1.ModelAxis) []*trellisv1.ModelAxis {
	return slices.Concat(commonAxes, own)
}

// testModels have axes of their own in every way: with a default and without, whole and not, several, and none.
var testModels = Models{
	{Name: "conv-autoencoder", Data: true, Axes: withAxes()},
	{Name: "synthetic", Axes: withAxes()},
	{Name: "denoising-autoencoder", Data: true, Axes: withAxes(
		&trellisv1.ModelAxis{
			Name: "noise", Kind: trellisv1.Kind_KIND_NUMBER, Maximum: 10, ExclusiveMinimum: true,
		},
	)},
	{
		Name: "classifier", Data: true, Pretrained: []string{"conv-autoencoder", "denoising-autoencoder"},
		Axes: withAxes(&trellisv1.ModelAxis{
			Name: "fine_tune", Kind: trellisv1.Kind_KIND_INTEGER, Maximum: 1, Default: trellisv1.IntegerValue(0),
		}),
	},
	{Name: "several", Data: true, Axes: withAxes(
		&trellisv1.ModelAxis{
			Name: "width", Kind: trellisv1.Kind_KIND_INTEGER, Minimum: 1, Maximum: 100, Default: trellisv1.IntegerValue(3),
		},
		&trellisv1.ModelAxis{
			Name: "angle", Kind: trellisv1.Kind_KIND_NUMBER, Maximum: 1000, Default: trellisv1.NumberValue(0.5),
		},
	)},
}

// newSpec is the spec of the paper's search: 4 x 3 x 3 x 3 trials.
func newSpec() *trellisv1.StudySpec {
	return &trellisv1.StudySpec{
		Name:  "paper",
		Data:  "mnist",
		Model: "conv-autoencoder",
		Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
			"latent_dim":    integers(4, 8, 16, 32),
			"learning_rate": {Log10: newRange(1e-4, 1e-2, 3)},
			"weight_decay":  numbers(0, 1e-5, 1e-4),
			"max_epochs":    integers(50, 100, 150),
		}}},
		EarlyStopping: &trellisv1.EarlyStopping{Patience: 10, MinDelta: 1e-5},
	}
}

func newDataSet() *trellisv1.DataSet {
	return &trellisv1.DataSet{Name: "mnist", Digest: "d161", TrainImages: 60_000, TestImages: 10_000}
}

func integers(values ...uint32) *trellisv1.Axis { return trellisv1.AxisOf(values...) }

func numbers(values ...float64) *trellisv1.Axis { return trellisv1.AxisOf(values...) }

func newRange(from, to float64, count uint32) *trellisv1.Range {
	return &trellisv1.Range{From: from, To: to, Count: count}
}

// largeSpec has 1,000,000 points in two grids. Half of the second's are the first's too: 750,000 trials on 150,000
// runs.
func largeSpec() *trellisv1.StudySpec {
	spec := newSpec()
	spec.Grid = []*trellisv1.Grid{
		{Axes: map[string]*trellisv1.Axis{
			"latent_dim":    {Linear: newRange(1, 100, 100)},
			"learning_rate": {Log10: newRange(1e-5, 1e-1, 500)},
			"weight_decay":  numbers(0, 1e-5),
			"max_epochs":    integers(10, 20, 30, 40, 50),
		}},
		{Axes: map[string]*trellisv1.Axis{
			"latent_dim":    {Linear: newRange(51, 150, 100)},
			"learning_rate": {Log10: newRange(1e-5, 1e-1, 500)},
			"weight_decay":  numbers(0, 1e-5),
			"max_epochs":    integers(10, 20, 30, 40, 50),
		}},
	}
	return spec
}

// hugeSpec has 10^12 points.
func hugeSpec() *trellisv1.StudySpec {
	spec := newSpec()
	spec.Grid[0] = &trellisv1.Grid{Axes: map[string]*trellisv1.Axis{
		"latent_dim":    {Linear: newRange(1, 500, 500)},
		"learning_rate": {Log10: newRange(1e-5, 1, 10_000)},
		"weight_decay":  {Linear: newRange(0, 1, 10_000)},
		"max_epochs":    {Linear: newRange(5, 100, 20)},
	}}
	return spec
}

// unionSpec has 100,000 points in 100 grids of 1,000, each of which overlaps the next.
func unionSpec() *trellisv1.StudySpec {
	spec := newSpec()
	spec.Grid = nil
	for k := range 100 {
		spec.Grid = append(spec.Grid, &trellisv1.Grid{Axes: map[string]*trellisv1.Axis{
			"latent_dim":    integers(8, 16),
			"learning_rate": {Linear: newRange(float64(k+1), float64(k+50), 50)},
			"weight_decay":  numbers(0, 1e-5),
			"max_epochs":    integers(10, 20, 30, 40, 50),
		}})
	}
	return spec
}

// skipShort leaves a test to make test: make race runs with -short, and would find nothing in a test that starts no
// goroutine.
func skipShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts no goroutine")
	}
}
