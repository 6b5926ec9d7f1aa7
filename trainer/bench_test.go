package trainer

import (
	"math"
	"testing"
	"time"

	"trellis/trainer/kernel"
	"trellis/trainer/network"
	"trellis/trainer/stream"
)

const benchmarkBatch = 256

// benchmarkModel is the autoencoder with the paper's best parameters, as a worker trains it.
func benchmarkModel(b *testing.B) *training {
	b.Helper()
	return benchmarkOf(b, Config{Model: ConvAutoencoder})
}

// benchmarkOf is a model with those parameters.
func benchmarkOf(b *testing.B, config Config) *training {
	b.Helper()
	config.LatentDim, config.LearningRate, config.WeightDecay = 16, 1e-3, 1e-5
	config.BatchSize, config.Seed, config.MaxEpochs = benchmarkBatch, 1, 1
	config.Data = mnist(b, 50000, 10000, 10000)
	m, err := begin(&config)
	if err != nil {
		b.Fatal(err)
	}
	return m.(*training)
}

// step trains on one batch: forward and backward, and Adam.
func (m *training) step(b *testing.B, examples network.Examples, batch []uint32) {
	if _, err := m.network.Train(b.Context(), examples, batch); err != nil {
		b.Error(err)
	}
	if err := m.network.Step(m.solver); err != nil {
		b.Error(err)
	}
}

// nextBatch is the next one of an epoch after another, all in the order of the first. A network that sees one batch
// again and again learns it by heart, and computes with other numbers than in training.
func (m *training) nextBatch() []uint32 {
	steps, _, _ := m.solver.State()
	at := steps % (len(m.order) / benchmarkBatch)
	if steps == 0 {
		stream.New(m.config.Seed, stream.BatchOrder, 1).Permutation(m.order)
	}
	return m.order[at*benchmarkBatch:][:benchmarkBatch]
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
// share of the peak that this is; and the rate and the share of the fastest iteration, which hold on a machine that
// others use. The portable path has no peak.
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
	b.ReportMetric(float64(images)/best.Seconds(), "best-images/s")
	if peak = max(peak, kernel.Peak()); peak > 0 {
		b.ReportMetric(100*rate*float64(flopsPerImage)/peak, "%peak")
		b.ReportMetric(100*float64(images*flopsPerImage)/best.Seconds()/peak, "best-%peak")
	}
}

// A training step: one batch of 256 images forward and backward, and Adam.
func BenchmarkTrainingStep(b *testing.B) {
	onEachPath(b, func(b *testing.B) {
		m := benchmarkModel(b)
		flops, _ := m.network.FLOPs()
		examples := m.trainingExamples(1)
		measure(b, benchmarkBatch, flops, func() { m.step(b, examples, m.nextBatch()) })
	})
}

// A training step of each of the other networks on the best path. The denoising one is the autoencoder, plus noise.
func BenchmarkTrainingStepOf(b *testing.B) {
	pretrained := benchmarkModel(b)
	checkpoint := &Checkpoint{progress: progress{epoch: 1, bestEpoch: 1}, state: pretrained.State()}
	for _, test := range []struct {
		name   string
		config Config
	}{
		{"conv-autoencoder", Config{Model: ConvAutoencoder}},
		{"denoising-autoencoder", Config{Model: DenoisingAutoencoder, Values: map[string]float64{"noise": 0.5}}},
		{"variational-autoencoder", Config{Model: VariationalAutoencoder}},
		{"classifier,frozen", Config{Model: Classifier, Pretrained: checkpoint}},
		{"classifier,fine-tuned", Config{
			Model: Classifier, Pretrained: checkpoint, Values: map[string]float64{"fine_tune": 1},
		}},
		{"classifier,fine-tuned,shifted", Config{
			Model: Classifier, Pretrained: checkpoint, Values: map[string]float64{"fine_tune": 1, "shift": 2},
		}},
	} {
		b.Run(test.name, func(b *testing.B) {
			m := benchmarkOf(b, test.config)
			flops, _ := m.network.FLOPs()
			examples := m.trainingExamples(1)
			var err error
			if examples.Codes, err = m.encode(b.Context(), &m.codes.training, examples.Pixels); err != nil {
				b.Fatal(err)
			}
			measure(b, benchmarkBatch, flops, func() { m.step(b, examples, m.nextBatch()) })
		})
	}
}

// A validation pass over 10,000 images.
func BenchmarkValidationPass(b *testing.B) {
	onEachPath(b, func(b *testing.B) {
		m := benchmarkModel(b)
		_, flops := m.network.FLOPs()
		measure(b, m.config.Data.Validation.Len(), flops, func() {
			if _, err := m.Validate(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	})
}

// A run of ten epochs that take no time: what Train does beside training.
func BenchmarkShortRun(b *testing.B) {
	config := Config{
		Model: Synthetic, LatentDim: 16, LearningRate: 1e-3, WeightDecay: 1e-5, BatchSize: 256, Seed: 1, MaxEpochs: 10,
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Train(b.Context(), config, func(Report) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
