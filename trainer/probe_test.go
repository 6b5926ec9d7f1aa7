//go:build !race

package trainer

import (
	"context"
	"errors"
	"testing"
	"time"
)

// A probe takes about as long as it is told, and an epoch of more images longer.
func TestProbe(t *testing.T) {
	config := Config{Model: "conv-autoencoder", LatentDim: 4, LearningRate: 1e-3, BatchSize: 64, Seed: 1}
	measure := func(train int) time.Duration {
		t.Helper()
		start := time.Now()
		config.Data = RandomImages(config, train, 16)
		const duration = 50 * time.Millisecond
		epoch, err := Probe(t.Context(), config, duration)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < duration || epoch <= 0 || epoch > took {
			t.Errorf("measured %v per epoch in %v", epoch, took)
		}
		return epoch
	}
	if few, many := measure(64), measure(2048); many < 2*few {
		t.Errorf("an epoch of 64 images takes %v, one of 2048 takes %v", few, many)
	}
	config.Data = RandomImages(config, 64, 16)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Probe(canceled, config, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	config.Model = "nosuch"
	if _, err := Probe(t.Context(), config, time.Hour); !errors.Is(err, ErrInvalidConfig) {
		t.Errorf("got %v", err)
	}
}

// Every network is probed without weights to begin with.
func TestProbeEveryNetwork(t *testing.T) {
	for _, model := range Models() {
		if !model.Data {
			continue
		}
		config := Config{
			Model: model.Name, LatentDim: 4, LearningRate: 1e-3, BatchSize: 16, Seed: 1,
			Values: map[string]float64{},
		}
		for _, axis := range model.Own() {
			if axis.Size == SizeSame {
				config.Values[axis.Name] = max(axis.Maximum, float64(len(axis.Texts)-1))
			}
		}
		config.Values[Filters], config.Values[Kernel] = 5, 5
		config.Data = RandomImages(config, 16, 16)
		if _, err := Probe(t.Context(), config, time.Millisecond); err != nil {
			t.Errorf("%s: %v", model.Name, err)
		}
	}
}
