package trainer

import (
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"time"

	"trellis/trainer/kernel"
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
			config.BatchSize = 4*kernel.Lanes + random.IntN(2*kernel.Lanes)
			config.MaxEpochs = 2
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

// A training step on two cores against one, in turn. The ratio of the rates is 2 at best.
func BenchmarkTwoCores(b *testing.B) {
	for _, model := range []string{ConvAutoencoder, VariationalAutoencoder} {
		b.Run(model, func(b *testing.B) {
			m := benchmarkOf(b, Config{Model: model})
			examples, batch := m.trainingExamples(1), m.inOrder[:benchmarkBatch]
			cores := &borrowed{}
			m.network.Cores = cores
			var total [2]time.Duration
			best := [2]time.Duration{time.Hour, time.Hour}
			for b.Loop() {
				for cores.most = range total {
					start := time.Now()
					m.step(b, examples, batch)
					took := time.Since(start)
					total[cores.most] += took
					best[cores.most] = min(best[cores.most], took)
				}
			}
			b.ReportMetric(total[0].Seconds()/total[1].Seconds(), "ratio")
			b.ReportMetric(best[0].Seconds()/best[1].Seconds(), "best-ratio")
		})
	}
}
