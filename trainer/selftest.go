package trainer

import (
	"context"
	"errors"
	"fmt"
	"math"

	"trellis/trainer/dataset"
	"trellis/trainer/kernel"
	"trellis/trainer/network"
)

// ErrArithmetic means that this machine, or this build, computes other results than all others.
var ErrArithmetic = errors.New("arithmetic gives other digits than on other machines")

// selfTests are what SelfTest trains, and the bits of the losses . They change with NumericsVersion.
var selfTests = []struct {
	model             string
	values            map[string]float64
	train, validation uint64
}{
	{ConvAutoencoder, nil, 0x3fb5e4fd60000000, 0x3fb67f0ea0000000},
	{DenoisingAutoencoder, map[string]float64{"noise": 0.3}, 0x3fb5e4fce0000000, 0x3fb67f0f40000000},
}

// SelfTest trains one epoch of each small network that starts from random weights, on a few generated images, and
// compares the losses with recorded ones. A broken processor or memory, or a build that rounds differently, would spoil
// every study in which it takes part. SelfTest takes some milliseconds.
func SelfTest() error {
	for _, test := range selfTests {
		var last Report
		_, err := Train(context.Background(), selfTestConfig(test.model, test.values), func(r Report) error {
			last = r
			return nil
		})
		if err != nil {
			return fmt.Errorf("train %s to test the arithmetic: %w", test.model, err)
		}
		train, validation := math.Float64bits(last.TrainLoss), math.Float64bits(last.ValidationLoss)
		if train != test.train || validation != test.validation {
			return fmt.Errorf("%w: on path %s, the losses of %s are %#x and %#x, want %#x and %#x", ErrArithmetic,
				kernel.Path(),
				test.model, train, validation, test.train, test.validation)
		}
	}
	return nil
}

// selfTestConfig is a small run: one step, on two tiles of which the last is not full.
func selfTestConfig(name string, values map[string]float64) Config {
	images := func(n, first int) dataset.Images {
		images := dataset.Images{Pixels: make([]byte, n*network.Side*network.Side), Labels: make([]byte, n)}
		for i := range images.Pixels {
			images.Pixels[i] = byte((i + first) * (i + first) >> 7)
		}
		return images
	}
	return Config{
		Model: name, Values: values, LatentDim: 4, LearningRate: 1e-3, WeightDecay: 1e-5, BatchSize: 18, Seed: 1,
		MaxEpochs: 1,
		Data: dataset.Split{
			Height: network.Side, Width: network.Side, Train: images(18, 0), Validation: images(3, 1), Test: images(1,
				2),
		},
	}
}
