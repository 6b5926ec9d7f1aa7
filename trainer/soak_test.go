//go:build soak

package trainer

import (
	"cmp"
	"testing"
)

// The paper's best parameters on the whole of MNIST come as far as PyTorch does (0.01155 and 0.01128 after 30 epochs):
//
//	go test -tags soak -run TestQuality -v ./trainer
func TestQuality(t *testing.T) {
	result, last, _ := trainWhole(t, Config{Model: ConvAutoencoder, MaxEpochs: 30})
	if result.BestValue > 0.0120 || *last.TestLoss > 0.0118 {
		t.Errorf("validation loss %v and test loss %v, want at most 0.0120 and 0.0118",
			result.BestValue, *last.TestLoss)
	}
}

// trainWhole trains on the whole of MNIST, with the paper's parameters where none are given, classifiers without weight
// decay, and returns the result, the last report and the last checkpoint.
func trainWhole(t *testing.T, config Config) (Result, Report, *Checkpoint) {
	t.Helper()
	config.LatentDim, config.Data = 16, mnist(t, 50000, 10000, 10000)
	config.Seed = cmp.Or(config.Seed, 1)
	config.LearningRate = cmp.Or(config.LearningRate, 1e-3)
	config.BatchSize = cmp.Or(config.BatchSize, 256)
	if config.Model != Classifier {
		config.WeightDecay = 1e-5
	}
	var last Report
	checkpoint := new(Checkpoint)
	config.Checkpoint = func(c *Checkpoint) error { c.CopyTo(checkpoint); return nil }
	result, err := Train(t.Context(), config, func(r Report) error {
		t.Logf("epoch %2d: training loss %.6f, validation loss %.6f, %v, %v", r.Epoch, r.TrainLoss, r.ValidationLoss,
			r.Metrics,
			r.Elapsed)
		last = r
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s %v: best validation loss %v after epoch %d, test loss %v, %v", config.Model, config.Values,
		result.BestValue, result.BestEpoch, *last.TestLoss, last.TestMetrics)
	return result, last, checkpoint
}

// The denoising autoencoder after 15 epochs is better than one run of PyTorch with the paper's parameters (learning
// rate 1e-3, batches of 256 images), which has 0.0202 with noise of 0.5 and 0.0175 with 0.3; with those, ours has
// 0.0203 to 0.0235 and
// 0.0170 to 0.0207 by the seed. The paper has 0.0269, of noise that it does not tell.
func TestDenoisingQuality(t *testing.T) {
	for noise, want := range map[float64]float64{0.5: 0.0202, 0.3: 0.0175} {
		for seed := range uint32(3) {
			_, last, _ := trainWhole(t, Config{
				Model: DenoisingAutoencoder, MaxEpochs: 15, LearningRate: 2e-3, BatchSize: 128, Seed: seed + 1,
				Values: map[string]float64{"noise": noise},
			})
			if *last.TestLoss > want {
				t.Errorf("noise %v, seed %d: test loss %v, want at most %v", noise, seed+1, *last.TestLoss, want)
			}
		}
	}
}

// The classifier is better than the paper's, whose accuracy is 0.9513 with a frozen encoder. With a fine-tuned one it
// comes close to the 0.9927 of a supervised network that the paper compares it with.
func TestClassifierQuality(t *testing.T) {
	_, _, pretrained := trainWhole(t, Config{Model: ConvAutoencoder, MaxEpochs: 60})
	for _, test := range []struct {
		config Config
		want   float64
	}{
		{Config{MaxEpochs: 20, LearningRate: 3e-3, BatchSize: 128}, 0.970},
		{Config{MaxEpochs: 60, BatchSize: 128, Values: map[string]float64{"fine_tune": 1, "shift": 2}}, 0.990},
	} {
		test.config.Model, test.config.Pretrained = Classifier, pretrained
		_, last, _ := trainWhole(t, test.config)
		if got := last.TestMetrics["accuracy"]; got < test.want {
			t.Errorf("%v: accuracy %v, want at least %v", test.config.Values, got, test.want)
		}
	}
}

// Three epochs of the variational autoencoder, each of which takes most of a minute.
func TestVariationalQuality(t *testing.T) {
	_, last, _ := trainWhole(t, Config{Model: VariationalAutoencoder, MaxEpochs: 3})
	if *last.TestLoss > 33 {
		t.Errorf("test loss is %v, want at most 33", *last.TestLoss)
	}
}
