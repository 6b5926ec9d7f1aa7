//go:build !race

package trainer

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Recorded identities: those of the models without axes of their own, and of axes that were added later, never change,
// or their checkpoints could not be resumed.
func TestIdentityIsRecorded(t *testing.T) {
	data := small(t)
	for name, test := range map[string]struct {
		config Config
		want   string
	}{
		"conv-autoencoder": {data, "099bdec8b01aee0e9fd82b05d797c587bf6e0c236803ab7ddae7a9cb090fce5d"},
		// It was recorded before classifiers had a shift.
		"classifier": {smallModel(t, Classifier), "7469925373479c25f28f76e4e8b4a4f3b6d21bc75b880b0e420b7e0e41261a63"},
		// These were recorded before networks had a shape.
		"denoising-autoencoder": {
			smallModel(t, DenoisingAutoencoder), "b8b15b8a6d70affdde1ed0a15741a8d28cc171f7370e830314558f15b13f2250",
		},
		"variational-autoencoder": {
			smallModel(t, VariationalAutoencoder), "fb5094567b8d0b049fd3c37183957cba2fc995aa04ccfd8075a4e38b74fe18e3",
		},
		"synthetic": {syntheticConfig(), "39d4389d07663406b0d91a00182f3f56bdc2cbe965b0e228ebe2ca12159c667c"},
	} {
		if got := test.config.identity(); hex.EncodeToString(got[:]) != test.want {
			t.Errorf("%s: got %x, want %s", name, got, test.want)
		}
	}
}

// What only some models have is part of their runs' identity, and a default that is given is the default.
func TestIdentityOfOwnAxes(t *testing.T) {
	pretrained := smallPretrained().Clone()
	pretrained.state.BestWeights[5]++
	for name, test := range map[string]struct {
		model  string
		change func(*Config)
		same   bool
	}{
		"noise": {
			DenoisingAutoencoder, func(c *Config) { c.Values = map[string]float64{"noise": 0.4} }, false,
		},
		"weight":      {VariationalAutoencoder, func(c *Config) { c.Values = nil }, false},
		"fine-tuning": {Classifier, func(c *Config) { c.Values = map[string]float64{"fine_tune": 1} }, false},
		"filters":     {ConvAutoencoder, func(c *Config) { c.Values = map[string]float64{"filters": 9} }, false},
		"paper's shape": {
			ConvAutoencoder,
			func(c *Config) {
				c.Values = map[string]float64{"filters": 8, "depth": 3, "kernel": 3, "hidden": 64, "loss": 0}
			}, true,
		},
		"filters of another model": {
			VariationalAutoencoder, func(c *Config) { c.Values["filters"] = 8 }, false,
		},
		"loss":            {DenoisingAutoencoder, func(c *Config) { c.SetText("loss", "bce") }, false},
		"shift":           {Classifier, func(c *Config) { c.Values = map[string]float64{"shift": 1} }, false},
		"no shift":        {Classifier, func(c *Config) { c.Values = map[string]float64{"shift": 0} }, true},
		"default":         {Classifier, func(c *Config) { c.Values = map[string]float64{"fine_tune": 0} }, true},
		"weights":         {Classifier, func(c *Config) { c.Pretrained = pretrained }, false},
		"nothing of that": {Classifier, func(*Config) {}, true},
	} {
		config := smallModel(t, test.model)
		before := config.identity()
		test.change(&config)
		if same := config.identity() == before; same != test.same {
			t.Errorf("%s: the same identity: %v, want %v", name, same, test.same)
		}
	}
}

// What is written without fmt is what fmt writes.
func TestIdentityIsThatOfFmt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Config{
			Model: Synthetic, LatentDim: rapid.Int().Draw(t, "latent"), LearningRate: rapid.Float64().Draw(t, "rate"),
			WeightDecay: rapid.Float64().Draw(t, "decay"), BatchSize: rapid.Int().Draw(t, "batch"),
			Seed: rapid.Uint32().Draw(t, "seed"), EarlyStopping: EarlyStopping{
				Patience: rapid.Int().Draw(t, "patience"), MinDelta: rapid.Float64().Draw(t, "delta"),
			},
		}
		want := fmt.Sprintf("numerics %q model %q latent %d learning rate %x weight decay %x batch %d seed %d"+
			" patience %d min delta %x", NumericsVersion, c.Model, c.LatentDim, c.LearningRate,
			c.WeightDecay, c.BatchSize, c.Seed, c.EarlyStopping.Patience, c.EarlyStopping.MinDelta)
		if got := string(c.appendIdentity(nil)); !strings.HasPrefix(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
	})
}
