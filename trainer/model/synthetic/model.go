package synthetic

import (
	"context"
	"math"
	"time"

	"trellis/trainer/model"
	"trellis/trainer/network"
	"trellis/trainer/stream"
)

// Name of the model.
const Name = "synthetic"

// Definition is the model.
type Definition struct{}

var _ model.Formula = Definition{}

// Describe says what the model is.
func (Definition) Describe() model.Model {
	return model.Model{
		Name:    Name,
		Summary: "a formula in place of a network, to try out a cluster without training",
		Axes:    model.Axes(),
		Loss:    "a made-up number",
	}
}

// Begin returns a run before its first epoch.
func (Definition) Begin(config model.Run) model.Trainee {
	return &run{config: config, validation: math.NaN(), best: math.NaN()}
}

type run struct {
	config model.Run
	// Losses of the last epoch, and the lowest validation loss so far.
	validation, best float64
	noise            stream.Stream
}

// A long epoch counts as one step a second, so that a watchdog sees that it is alive.
const step = time.Second

func (r *run) TrainEpoch(ctx context.Context, epoch int) (network.Means, error) {
	for left := r.config.EpochTime; left > 0; left -= step {
		if err := wait(ctx, min(left, step)); err != nil {
			return network.Means{}, err
		}
		r.config.Count()
	}
	if err := ctx.Err(); err != nil {
		return network.Means{}, err
	}
	r.config.Count()
	training, validation := r.losses(epoch)
	r.validation = validation
	return network.Means{Loss: training}, nil
}

func (r *run) Validate(context.Context) (network.Means, error) {
	r.config.Count()
	return network.Means{Loss: r.validation}, nil
}

func (r *run) KeepBest() { r.best = r.validation }

func (r *run) Test(context.Context) (network.Means, error) {
	return network.Means{Loss: float64(0.98 * r.best)}, nil
}

func (r *run) State() model.State { return model.State{} }

func (r *run) Resume(epoch int, state model.State) error {
	if len(state.Weights) > 0 {
		return model.ErrState
	}
	for e := 1; e <= epoch; e++ {
		if _, r.validation = r.losses(e); math.IsNaN(r.best) || r.validation < r.best {
			r.best = r.validation
		}
	}
	return nil
}

func (r *run) BestWeights() map[string][]float32 { return nil }

// losses are an epoch's mean losses on training and validation images. The conversions keep the compiler from fusing a
// product with a sum, which rounds differently.
func (r *run) losses(epoch int) (training, validation float64) {
	rate := r.config.LearningRate
	if rate >= 0.1 && float64(epoch) >= 1+math.Floor(1/rate) {
		return math.NaN(), math.NaN()
	}
	q, l, w := rate/1e-3, float64(r.config.LatentDim)/16, r.config.WeightDecay
	decay := (w - 1e-5) / (w + 1e-5)
	floor := 0.010 + float64(0.004*bounded(l+1/l-2)) + float64(0.003*bounded(q+1/q-2)) +
		float64(0.001*float64(decay*decay))
	curve := floor + 0.08/(1+float64(float64(4*float64(epoch))*q)/(1+q))
	r.noise.Reset(r.config.Seed, stream.SyntheticLoss, epoch)
	validation = float64(curve * (1 + float64(0.005*float64(r.noise.Symmetric()))))
	training = float64(curve * (0.98 + float64(0.005*float64(r.noise.Symmetric()))))
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
