package trainer

import (
	"math"
	"sync"
	"testing"
	"time"

	"trellis/trainer/kernel"
)

const benchmarkBatch = 256

// benchmarkModel is the autoencoder with the paper's best parameters, as a worker trains it.
func benchmarkModel(b *testing.B) *networkModel {
	b.Helper()
	m, err := newNetworkModel(&Config{
		Model: ConvAutoencoder, LatentDim: 16, LearningRate: 1e-3, WeightDecay: 1e-5, BatchSize: benchmarkBatch, Seed: 1,
		MaxEpochs: 1, Data: mnist(b, 50000, 10000, 10000),
	})
	if err != nil {
		b.Fatal(err)
	}
	return m
}

// step trains on one batch: forward and backward, and Adam.
func (m *networkModel) step(b *testing.B, batch []uint32) {
	if _, err := m.network.Train(b.Context(), m.config.Data.Train.Pixels, batch); err != nil {
		b.Error(err)
	}
	if err := m.network.Step(m.solver); err != nil {
		b.Error(err)
	}
}

// onEachPath runs a benchmark on each path of the kernels.
func onEachPath(b *testing.B, run func(b *testing.B)) {
	inUse := kernel.Path()
	defer kernel.SetPath(inUse)
	for _, path := range kernel.Paths() {
		b.Run(path, func(b *testing.B) {
			if err := kernel.SetPath(path); err != nil {
				b.Fatal(err)
			}
			run(b)
		})
	}
}

// measure runs a benchmark on one core, whose peak it measures before and after. It reports the mean rate, and the
// share of the peak that this is; and the share that the fastest iteration reached, which is what holds on a machine
// that others use. The portable path has no peak.
func measure(b *testing.B, images, flopsPerImage int, run func()) {
	peak := kernel.Peak()
	best := time.Duration(math.MaxInt64)
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		run()
		best = min(best, time.Since(start))
	}
	rate := float64(images) * float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(rate, "images/s")
	if peak = max(peak, kernel.Peak()); peak > 0 {
		b.ReportMetric(100*rate*float64(flopsPerImage)/peak, "%peak")
		b.ReportMetric(100*float64(images*flopsPerImage)/best.Seconds()/peak, "best-%peak")
	}
}

// A training step: one batch of 256 images forward and backward, and Adam.
func BenchmarkTrainingStep(b *testing.B) {
	onEachPath(b, func(b *testing.B) {
		m := benchmarkModel(b)
		batch := m.inOrder[:benchmarkBatch]
		flops, _ := m.network.FLOPs()
		measure(b, len(batch), flops, func() { m.step(b, batch) })
	})
}

// A validation pass over 10,000 images.
func BenchmarkValidationPass(b *testing.B) {
	onEachPath(b, func(b *testing.B) {
		m := benchmarkModel(b)
		_, flops := m.network.FLOPs()
		measure(b, m.config.Data.Validation.Len(), flops, func() {
			if _, err := m.validationLoss(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	})
}

// Two slots of a worker against one: two runs side by side on one data set, as fast as the machine lets them. An
// iteration is a stretch of steps of one, then as many of both. The ratio of the rates is 2 on two idle cores.
func BenchmarkTwoSlots(b *testing.B) {
	slots := [2]*networkModel{benchmarkModel(b), benchmarkModel(b)}
	const steps = 25
	stretch := func(slots []*networkModel) time.Duration {
		start := time.Now()
		var wait sync.WaitGroup
		for _, m := range slots {
			wait.Go(func() {
				for i := range steps {
					m.step(b, m.inOrder[i*benchmarkBatch:][:benchmarkBatch])
				}
			})
		}
		wait.Wait()
		return time.Since(start)
	}
	var one, two time.Duration
	bestOne, bestTwo := time.Duration(math.MaxInt64), time.Duration(math.MaxInt64)
	for b.Loop() {
		single, both := stretch(slots[:1]), stretch(slots[:])
		one, two = one+single, two+both
		bestOne, bestTwo = min(bestOne, single), min(bestTwo, both)
	}
	const images = steps * benchmarkBatch
	b.ReportMetric(images*float64(b.N)/one.Seconds(), "images/s-one")
	b.ReportMetric(2*images*float64(b.N)/two.Seconds(), "images/s-two")
	b.ReportMetric(2*one.Seconds()/two.Seconds(), "ratio")
	b.ReportMetric(2*bestOne.Seconds()/bestTwo.Seconds(), "best-ratio")
}
