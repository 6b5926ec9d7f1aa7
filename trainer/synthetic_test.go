package trainer

import (
	"context"
	"errors"
	"math"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestSyntheticRecordedBits(t *testing.T) {
	_, reports := collect(t, syntheticConfig())
	for i, want := range map[int][2]uint64{
		0:  {0x3fa27164c0275254, 0x3fa2d72a0dd75026},
		49: {0x3f85aae5d3f9e267, 0x3f862b94b36483a5},
	} {
		got := [2]uint64{math.Float64bits(reports[i].TrainLoss), math.Float64bits(reports[i].ValidationLoss)}
		if got != want {
			t.Errorf("epoch %d: got {%#x, %#x} (%v, %v)", i+1, got[0], got[1], reports[i].TrainLoss,
				reports[i].ValidationLoss)
		}
	}
}

func TestSyntheticOptimum(t *testing.T) {
	best := func(config Config) float64 {
		config.MaxEpochs = 100
		result, _ := collect(t, config)
		return result.BestValue
	}
	want := best(syntheticConfig())
	if want < 0.0095 || want > 0.0115 {
		t.Errorf("the best point's loss is %v, want about 0.01", want)
	}
	for name, change := range map[string]func(*Config){
		"half the latent dimension": func(c *Config) { c.LatentDim = 8 },
		"twice it":                  func(c *Config) { c.LatentDim = 32 },
		"latent dimension 1":        func(c *Config) { c.LatentDim = 1 },
		"latent dimension 784":      func(c *Config) { c.LatentDim = 784 },
		"a third of the rate":       func(c *Config) { c.LearningRate /= 3 },
		"three times the rate":      func(c *Config) { c.LearningRate *= 3 },
		"tiny rate":                 func(c *Config) { c.LearningRate = 1e-300 },
		"no weight decay":           func(c *Config) { c.WeightDecay = 0 },
		"ten times the decay":       func(c *Config) { c.WeightDecay = 1e-4 },
		"huge decay":                func(c *Config) { c.WeightDecay = 1e300 },
	} {
		config := syntheticConfig()
		change(&config)
		if got := best(config); !(got > want) || !finite(got) {
			t.Errorf("%s: loss %v, at the optimum %v", name, got, want)
		}
	}
}

func TestSyntheticDiverges(t *testing.T) {
	for rate, want := range map[float64]int{0.1: 11, 0.25: 5, 1: 2, 1000: 1} {
		config := syntheticConfig()
		config.LearningRate = rate
		result, reports := collect(t, config)
		last := reports[len(reports)-1]
		if result.StopReason != Diverged || result.Epochs != want || !math.IsNaN(last.ValidationLoss) {
			t.Errorf("rate %v: ended after epoch %d for reason %d with loss %v, want Diverged after %d",
				rate, result.Epochs, result.StopReason, last.ValidationLoss, want)
		}
		if (result.BestEpoch == 0) != (want == 1) || last.TestLoss == nil || math.IsNaN(*last.TestLoss) != (want == 1) {
			t.Errorf("rate %v: best epoch %d, test loss %v", rate, result.BestEpoch, last.TestLoss)
		}
	}
}

func TestSyntheticSeed(t *testing.T) {
	config := syntheticConfig()
	_, first := collect(t, config)
	_, again := collect(t, config)
	config.Seed++
	_, other := collect(t, config)
	if !reflect.DeepEqual(first, again) {
		t.Error("the same seed gives other losses")
	}
	if first[0].ValidationLoss == other[0].ValidationLoss {
		t.Error("another seed gives the same loss")
	}
}

func TestSyntheticEpochTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := syntheticConfig()
		config.MaxEpochs = 3
		config.EpochTime = 2500 * time.Millisecond
		config.Steps = new(atomic.Uint64)
		start := time.Now()
		if _, err := Train(t.Context(), config, func(r Report) error {
			if r.Elapsed != config.EpochTime {
				t.Errorf("epoch %d took %v, want %v", r.Epoch, r.Elapsed, config.EpochTime)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 3*config.EpochTime {
			t.Errorf("three epochs took %v, want %v", took, 3*config.EpochTime)
		}
		if got := config.Steps.Load(); got != 3*(3+1+1) {
			t.Errorf("counted %d steps, want one a second and two an epoch: 15", got)
		}

		config.EpochTime = time.Hour
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		start = time.Now()
		_, err := Train(ctx, config, func(Report) error { return nil })
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != 90*time.Second {
			t.Errorf("returned %v after %v, want the deadline's error after 90s", err, took)
		}
	})
}
