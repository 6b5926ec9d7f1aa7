//go:build soak

package trainer

import (
	"testing"

	"trellis/trainer/kernel"
)

// The paper's best parameters on the whole of MNIST come as far as PyTorch does (0.01155 and 0.01128 after 30 epochs):
//
//	go test -tags soak -run TestQuality -v ./trainer
func TestQuality(t *testing.T) {
	config := Config{
		Model: ConvAutoencoder, LatentDim: 16, LearningRate: 1e-3, WeightDecay: 1e-5, BatchSize: 256, Seed: 1,
		MaxEpochs: 30, Data: mnist(t, 50000, 10000, 10000),
	}
	var last Report
	result, err := Train(t.Context(), config, func(r Report) error {
		t.Logf("epoch %2d: training loss %.6f, validation loss %.6f, %v", r.Epoch, r.TrainLoss, r.ValidationLoss, r.Elapsed)
		last = r
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: best validation loss %v after epoch %d, test loss %v",
		kernel.Path(), result.BestValidationLoss, result.BestEpoch, *last.TestLoss)
	if result.BestValidationLoss > 0.0120 || *last.TestLoss > 0.0118 {
		t.Errorf("validation loss %v and test loss %v, want at most 0.0120 and 0.0118",
			result.BestValidationLoss, *last.TestLoss)
	}
}
