package trainer

import (
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trellis/trainer/kernel"
	"trellis/trainer/network"
	"trellis/trainer/stream"
)

// lent lends up to so many cores, at random.
type lent struct {
	mutex         sync.Mutex
	random        *rand.Rand
	most, out     int
	taken, atOnce int
}

func (l *lent) TryTake() bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.out == l.most || l.taken > 0 && l.random.IntN(4) == 0 {
		return false
	}
	l.out++
	l.taken++
	l.atOnce = max(l.atOnce, l.out)
	return true
}

func (l *lent) Return() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.out--
}

// Wanted says at random that a core is.
func (l *lent) Wanted() bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.random.IntN(8) == 0
}

func inLoss(config Config, loss string) Config {
	config.SetText("loss", loss)
	return config
}

// A run has the same bits however many cores it is lent for each of its batches, and gives them all back.
func TestCoresDoNotInfluence(t *testing.T) {
	for name, config := range map[string]Config{
		ConvAutoencoder:        small(t),
		DenoisingAutoencoder:   smallModel(t, DenoisingAutoencoder),
		VariationalAutoencoder: smallModel(t, VariationalAutoencoder),
		Classifier:             smallModel(t, Classifier),
		"cross-entropy":        inLoss(small(t), "bce"),
		"shifted":              withValues(smallModel(t, Classifier), map[string]float64{"shift": 2}),
		"fine-tuned":           withValues(smallModel(t, Classifier), map[string]float64{"fine_tune": 1}),
	} {
		t.Run(name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 1))
			config.BatchSize = kernel.Lanes + 1 + random.IntN(5*kernel.Lanes)
			config.MaxEpochs = 3 // Half of the batches are on one core at first.
			var checkpoints [][]byte
			config.Checkpoint = func(c *Checkpoint) error {
				b, err := c.MarshalBinary()
				checkpoints = append(checkpoints, b)
				return err
			}
			result, reports := collect(t, config)
			want := checkpoints
			checkpoints = nil
			cores := &lent{random: random, most: 3}
			config.Cores = cores
			gotResult, gotReports := collect(t, config)
			if !reflect.DeepEqual(gotResult, result) || !reflect.DeepEqual(gotReports, reports) ||
				!reflect.DeepEqual(checkpoints, want) {
				t.Errorf("%+v with cores that were lent, %+v without; or the results or checkpoints differ",
					gotReports, reports)
			}
			if cores.taken == 0 || cores.out != 0 {
				t.Errorf("%d cores were taken, at most %d at once, and %d not given back",
					cores.taken, cores.atOnce, cores.out)
			}
		})
	}
}

// A run that ends in the middle of a batch on several cores ends on all of them.
func TestCoresEndWithTheRun(t *testing.T) {
	config := small(t)
	config.Data = mnist(t, 5000, 37, 21)
	config.BatchSize, config.MaxEpochs = 5000, 1000
	cores := &lent{random: rand.New(rand.NewPCG(1, 1)), most: 3}
	config.Cores = cores
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(20))*time.Millisecond)
		if _, err := Train(ctx, config, func(Report) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want that the run was ended", err)
		}
		cancel()
		if cores.out != 0 {
			t.Errorf("%d cores were not given back", cores.out)
		}
	}
}

// recalled lends one core, which is wanted back at once, and knows how many tiles were filled when it came.
type recalled struct {
	lent            atomic.Bool
	filled, atGiven atomic.Int64
}

func (r *recalled) TryTake() bool { return r.lent.CompareAndSwap(false, true) }

func (r *recalled) Return() {
	r.atGiven.Store(r.filled.Load())
	r.lent.Store(false)
}

func (r *recalled) Wanted() bool { return r.lent.Load() }

// counted counts tiles for which it gives numbers.
type counted struct {
	network.Normals
	tiles *atomic.Int64
}

func (c counted) Tile(tile []float32, images []uint32, state *kernel.NormalState) {
	c.tiles.Add(1)
	c.Normals.Tile(tile, images, state)
}

// A core that is wanted is given back in the middle of a pass over images.
func TestCoresAreGivenBackWithinAPass(t *testing.T) {
	config := smallModel(t, DenoisingAutoencoder)
	config.Data = mnist(t, 16, 1600, 16)
	trainee, err := begin(&config)
	if err != nil {
		t.Fatal(err)
	}
	m, cores := trainee.(*training), &recalled{}
	m.network.Cores = cores
	examples := m.examples(config.Data.Validation, stream.ValidationNoise, stream.ValidationSample, 0)
	examples.Noise = counted{examples.Noise, &cores.filled}
	// Whoever has the core may lose its processor before it is asked, but not each time.
	for range 100 {
		cores.filled.Store(0)
		cores.atGiven.Store(100)
		if _, err := m.network.Evaluate(t.Context(), examples, m.inOrder); err != nil {
			t.Fatal(err)
		}
		if cores.lent.Load() {
			t.Fatal("the core was not given back")
		}
		if cores.atGiven.Load() < 50 {
			return
		}
	}
	t.Errorf("the core was given back after %d of 100 tiles in each pass", cores.atGiven.Load())
}

// borrowed lends one core always.
type borrowed struct{ most, out int }

func (l *borrowed) TryTake() bool {
	if l.out == l.most {
		return false
	}
	l.out++
	return true
}

func (l *borrowed) Return() { l.out-- }

func (l *borrowed) Wanted() bool { return false }

// One run on two cores, and two runs side by side, against one run on one core, in turn. Each has a stretch of steps in
// an iteration. The ratios of the rates are 2 at best, and less where the machine itself gives two runs less than two
// cores. Share is what one run on two cores reaches of what two runs do. These are of medians, which hold on a machine
// that others use now and then, and of the best stretches, if enough were run.
func BenchmarkTwoCores(b *testing.B) {
	for _, test := range []struct {
		model string
		steps int // Of a stretch, which takes 50 to 200 ms on one core.
	}{{ConvAutoencoder, 15}, {VariationalAutoencoder, 1}} {
		b.Run(test.model, func(b *testing.B) {
			runs := [3]*training{} // The last one always has two cores, and finds out that it should use them.
			for i := range runs {
				runs[i] = benchmarkOf(b, Config{Model: test.model})
			}
			stretch := func(steps, most int, runs ...*training) time.Duration {
				start := time.Now()
				var wait sync.WaitGroup
				for _, run := range runs {
					run.network.Cores = &borrowed{most: most}
					wait.Go(func() {
						for i := range steps {
							batch := run.order[i%test.steps*benchmarkBatch:][:benchmarkBatch]
							run.step(b, run.trainingExamples(1), batch)
						}
					})
				}
				wait.Wait()
				return time.Since(start)
			}
			for _, run := range runs {
				copy(run.order, run.inOrder)
			}
			stretch(20, 1, runs[2])
			var one, two, both []float64
			for b.Loop() {
				one = append(one, stretch(test.steps, 0, runs[0]).Seconds())
				two = append(two, stretch(test.steps, 1, runs[2]).Seconds())
				both = append(both, stretch(test.steps, 0, runs[:2]...).Seconds())
			}
			report := func(prefix string, of func([]float64) float64) {
				one, two, both := of(one), of(two), of(both)
				b.ReportMetric(one/two, prefix+"ratio")
				b.ReportMetric(2*one/both, prefix+"ratio-two-runs")
				b.ReportMetric(both/2/two, prefix+"share")
			}
			report("", median)
			report("best-", slices.Min)
		})
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}
