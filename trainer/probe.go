package trainer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"trellis/trainer/dataset"
	"trellis/trainer/model"
	"trellis/trainer/network"
)

// errMeasured ends a probe.
var errMeasured = errors.New("measured")

// Probe measures how long an epoch of a run takes on one core of this machine, on its Data: for example RandomImages,
// because the pixels make no difference. It trains for about the given duration, and at least two epochs. The first
// epoch warms caches and does not count, unless it alone took that long. MaxEpochs of the config is ignored.
//
// A model that needs pretrained weights starts from random ones if none are given: they make no difference either.
//
// Like Train, it runs only on the calling goroutine, and several may run at the same time, also on the same Data.
func Probe(ctx context.Context, config Config, duration time.Duration) (time.Duration, error) {
	config.MaxEpochs = 1 << 20 // The clock ends it.
	if config.Pretrained == nil {
		var err error
		if config.Pretrained, err = config.randomPretrained(); err != nil {
			return 0, err
		}
	}
	start := time.Now()
	var elapsed time.Duration
	var epochs int
	_, err := Train(ctx, config, func(report Report) error {
		over := time.Since(start) >= duration
		if report.Epoch > 1 || over {
			elapsed += report.Elapsed
			epochs++
		}
		if over && epochs > 0 {
			return errMeasured
		}
		return nil
	})
	if err != nil && !errors.Is(err, errMeasured) {
		return 0, err
	}
	// Without an epoch that counts, the losses of noise have diverged.
	return elapsed / time.Duration(max(epochs, 1)), nil
}

// RandomImages returns so many images of noise, such as the network of a config takes.
func RandomImages(config Config, train, validation int) dataset.Split {
	input := config.input()
	random := rand.New(rand.NewPCG(1, 1))
	images := func(n int) dataset.Images {
		images := dataset.Images{Pixels: make([]byte, n*input.Size()), Labels: make([]byte, n)}
		for i := range images.Pixels {
			images.Pixels[i] = byte(random.Uint32())
		}
		return images
	}
	return dataset.Split{
		Height: input.Height, Width: input.Width, Channels: input.Channels,
		Train: images(train), Validation: images(validation), Test: images(1),
	}
}

// randomPretrained is a checkpoint that the model can begin with, of weights that nobody has trained; nil if it begins
// with random weights anyway.
func (c *Config) randomPretrained() (*Checkpoint, error) {
	from := c.describe().Pretrained
	if len(from) == 0 {
		return nil, nil
	}
	base := Config{Model: from[0], Input: c.Input, LatentDim: c.LatentDim, Values: c.encoder()}
	definition, err := find(base.Model)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidConfig, err)
	}
	n, err := network.Build(base.layers(definition.(model.Network)))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidConfig, err)
	}
	n.Initialize(c.Seed)
	return &Checkpoint{progress: progress{bestEpoch: 1}, state: model.State{BestWeights: n.Weights}}, nil
}
