package trainer

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"trellis/trainer/dataset"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loadMNIST = sync.OnceValues(func() (*dataset.Data, error) {
	set, err := new(dataset.Library).Find(context.Background(), dataset.MNIST)
	if err != nil {
		return nil, err
	}
	return set.Load()
})

// mnist returns a split of MNIST's first images.
func mnist(t testing.TB, train, validation, test int) dataset.Split {
	t.Helper()
	data, err := loadMNIST()
	if err != nil {
		t.Fatalf("load MNIST: %v", err)
	}
	split, err := data.Split(train, validation)
	if err != nil {
		t.Fatal(err)
	}
	split.Test.Pixels = split.Test.Pixels[:test*split.Height*split.Width]
	split.Test.Labels = split.Test.Labels[:test]
	return split
}

// small is a configuration that trains in a moment, with a last batch and last tiles that are not full.
func small(t testing.TB) Config {
	return Config{
		Model:        ConvAutoencoder,
		LatentDim:    6,
		LearningRate: 2e-3,
		WeightDecay:  1e-5,
		BatchSize:    50,
		Seed:         7,
		MaxEpochs:    3,
		Data:         mnist(t, 130, 37, 21),
	}
}

// synthetic is a configuration that trains nothing.
func syntheticConfig() Config {
	return Config{
		Model: Synthetic, LatentDim: 16, LearningRate: 1e-3, WeightDecay: 1e-5, BatchSize: 256, Seed: 1, MaxEpochs: 50,
	}
}

// collect trains and returns the result with all reports, without their times.
func collect(t testing.TB, config Config) (Result, []Report) {
	t.Helper()
	var reports []Report
	result, err := Train(t.Context(), config, func(r Report) error {
		r.Elapsed = 0
		reports = append(reports, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return result, reports
}

// Gorgonia panics when the program starts unless this module is at a version that knows the Go release. A `go mod tidy`
// that lowered it would go unnoticed until then.
func TestAssumeNoMovingGCIsPinned(t *testing.T) {
	const pin = "go4.org/unsafe/assume-no-moving-gc v0.0.0-20231121144256-b99613f794b6"
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(mod), pin) {
		t.Errorf("go.mod does not require %s", pin)
	}
}

// smallModel is small for any model that is a network, with values on its own axes and weights to begin with where it
// needs them.
func smallModel(t testing.TB, name string) Config {
	config := small(t)
	config.Model = name
	switch name {
	case DenoisingAutoencoder:
		config.Values = map[string]float64{"noise": 0.3}
	case VariationalAutoencoder:
		config.Data = mnist(t, 67, 19, 21) // It is large.
		config.BatchSize = 30
		config.Values = map[string]float64{"divergence_weight": 0.5}
	case Classifier:
		config.Pretrained = smallPretrained()
	}
	return config
}

func withValues(config Config, values map[string]float64) Config {
	config.Values = values
	return config
}

// networks are all models but the synthetic one.
var networks = []string{ConvAutoencoder, DenoisingAutoencoder, VariationalAutoencoder, Classifier}

// smallPretrained is a checkpoint of the small autoencoder.
var smallPretrained = sync.OnceValue(func() *Checkpoint {
	data, err := loadMNIST()
	if err != nil {
		panic(err)
	}
	split, err := data.Split(130, 37)
	if err != nil {
		panic(err)
	}
	var last *Checkpoint
	if _, err := Train(context.Background(), Config{
		Model: ConvAutoencoder, LatentDim: 6, LearningRate: 2e-3, BatchSize: 50, Seed: 7, MaxEpochs: 3, Data: split,
		Checkpoint: func(c *Checkpoint) error { last = c.Clone(); return nil },
	}, func(Report) error { return nil }); err != nil {
		panic(err)
	}
	return last
})

// skipShort leaves a test to make test: make race runs with -short, and would find nothing in a test that starts no
// goroutine.
func skipShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts no goroutine")
	}
}
