package trainer

import (
	"testing"

	"trellis/trainer/kernel"
)

// The autoencoder of the paper's best parameters, as a worker trains it, on one core.
func benchmarkModel(b *testing.B) *networkModel {
	b.Helper()
	m, err := newNetworkModel(&Config{
		Model: ConvAutoencoder, LatentDim: 16, LearningRate: 1e-3, WeightDecay: 1e-5, BatchSize: 256, Seed: 1,
		MaxEpochs: 1, Data: mnist(b, 50000, 10000, 10000),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("kernels: %s", kernel.Path())
	b.ReportAllocs()
	return m
}

// A training step: one batch of 256 images forward and backward, and Adam.
func BenchmarkTrainingStep(b *testing.B) {
	m := benchmarkModel(b)
	batch := m.inOrder[:256]
	for b.Loop() {
		if _, err := m.network.Train(b.Context(), m.config.Data.Train.Pixels, batch); err != nil {
			b.Fatal(err)
		}
		if err := m.network.Step(m.solver); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*256/b.Elapsed().Seconds(), "images/s")
}

// A validation pass over 10,000 images.
func BenchmarkValidationPass(b *testing.B) {
	m := benchmarkModel(b)
	for b.Loop() {
		if _, err := m.validationLoss(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*10000/b.Elapsed().Seconds(), "images/s")
}
