package trainer

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"trellis/trainer/stream"
)

// The synthetic model has no network and needs no data. Its losses follow a closed form over the same axes as a real
// search, so that a cluster, its schedule and its ranking can be tried out without training. With the learning rate
// r in units of 1e-3, the latent dimension l in units of 16, the weight decay w, and the epoch e:
//
//	b(p)           = p / (1 + p)                                    bounds a penalty by 1
//	floor          = 0.010 + 0.004 b(l + 1/l - 2) + 0.003 b(r + 1/r - 2) + 0.001 ((w - 1e-5) / (w + 1e-5))^2
//	curve(e)       = floor + 0.08 / (1 + 4 e r / (1 + r))
//	validation(e)  = curve(e) (1 + 0.005 u)                         u drawn evenly from [-1, 1) for seed and epoch
//	training(e)    = curve(e) (0.98 + 0.005 v)                      v likewise
//	test           = 0.98 of the lowest validation loss
//
// The best point is latent 16, learning rate 1e-3, weight decay 1e-5, where the losses go to about 0.01. A learning
// rate of 0.1 or more diverges: from epoch 1 + floor(1 / learning rate) on, both losses are NaN. Only the four basic
// operations occur, each rounded by itself, so every machine computes the same bits.
type synthetic struct {
	config *Config
	// Losses of the last epoch, and the lowest validation loss so far.
	validation, best float64
}

// A long epoch counts as one step a second, so that a watchdog sees that it is alive.
const syntheticStep = time.Second

func newSynthetic(config *Config) *synthetic {
	return &synthetic{config: config, validation: math.NaN(), best: math.NaN()}
}

func (s *synthetic) trainEpoch(ctx context.Context, epoch int) (float64, error) {
	for left := s.config.EpochTime; left > 0; left -= syntheticStep {
		if err := wait(ctx, min(left, syntheticStep)); err != nil {
			return 0, err
		}
		count(s.config.Steps)
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	count(s.config.Steps)
	training, validation := s.losses(epoch)
	s.validation = validation
	return training, nil
}

func (s *synthetic) validationLoss(context.Context) (float64, error) {
	count(s.config.Steps)
	return s.validation, nil
}

func (s *synthetic) keepBest() { s.best = s.validation }

func (s *synthetic) testLoss(context.Context) (float64, error) { return float64(0.98 * s.best), nil }

func (s *synthetic) state() modelState { return modelState{} }

func (s *synthetic) resume(epoch int, state modelState) error {
	if len(state.weights) > 0 {
		return ErrCheckpointMismatch
	}
	for e := 1; e <= epoch; e++ {
		if _, s.validation = s.losses(e); math.IsNaN(s.best) || s.validation < s.best {
			s.best = s.validation
		}
	}
	return nil
}

func (s *synthetic) bestWeights() map[string][]float32 { return nil }

// losses are an epoch's mean losses on training and validation images. The conversions keep the compiler from fusing a
// product with a sum, which rounds differently.
func (s *synthetic) losses(epoch int) (training, validation float64) {
	rate := s.config.LearningRate
	if rate >= 0.1 && float64(epoch) >= 1+math.Floor(1/rate) {
		return math.NaN(), math.NaN()
	}
	r, l, w := rate/1e-3, float64(s.config.LatentDim)/16, s.config.WeightDecay
	decay := (w - 1e-5) / (w + 1e-5)
	floor := 0.010 + float64(0.004*bounded(l+1/l-2)) + float64(0.003*bounded(r+1/r-2)) +
		float64(0.001*float64(decay*decay))
	curve := floor + 0.08/(1+float64(float64(4*float64(epoch))*r)/(1+r))
	noise := stream.New(s.config.Seed, stream.SyntheticLoss, epoch)
	validation = float64(curve * (1 + float64(0.005*float64(noise.Symmetric()))))
	training = float64(curve * (0.98 + float64(0.005*float64(noise.Symmetric()))))
	return training, validation
}

func bounded(penalty float64) float64 { return penalty / (1 + penalty) }

// wait returns after a time, or with ctx's error as soon as ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// count adds a step to the counter, if there is one.
func count(steps *atomic.Uint64) {
	if steps != nil {
		steps.Add(1)
	}
}
