//go:build !race

package trainer

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Config)
		want   string // Part of the error; empty if there is none.
	}{
		"good":                     {func(*Config) {}, ""},
		"largest latent dimension": {func(c *Config) { c.LatentDim = 784 }, ""},
		"no data for synthetic":    {func(c *Config) { *c = syntheticConfig() }, ""},
		"unknown model": {
			func(c *Config) { c.Model = "resnet" },
			`model is "resnet", want "conv-autoencoder"`,
		},
		"latent dimension 0":         {func(c *Config) { c.LatentDim = 0 }, "latent dimension is 0, want 1 to 784"},
		"latent dimension too large": {func(c *Config) { c.LatentDim = 785 }, "latent dimension is 785"},
		"learning rate 0":            {func(c *Config) { c.LearningRate = 0 }, "learning rate is 0"},
		"learning rate NaN":          {func(c *Config) { c.LearningRate = math.NaN() }, "learning rate is NaN"},
		"infinite learning rate":     {func(c *Config) { c.LearningRate = math.Inf(1) }, "learning rate is +Inf"},
		"negative weight decay":      {func(c *Config) { c.WeightDecay = -1 }, "weight decay is -1"},
		"weight decay NaN":           {func(c *Config) { c.WeightDecay = math.NaN() }, "weight decay is NaN"},
		"batch size 0":               {func(c *Config) { c.BatchSize = 0 }, "batch size is 0"},
		"batch size too large":       {func(c *Config) { c.BatchSize = MaxBatchSize + 1 }, "batch size is 65537"},
		"no epochs":                  {func(c *Config) { c.MaxEpochs = 0 }, "maximum of epochs is 0"},
		"milestone 0":                {func(c *Config) { c.Milestones = []int{1, 0} }, "milestone is epoch 0"},
		"negative patience":          {func(c *Config) { c.EarlyStopping.Patience = -1 }, "patience is -1"},
		"negative min delta":         {func(c *Config) { c.EarlyStopping.MinDelta = -1 }, "minimum decrease is -1"},
		"negative epoch time":        {func(c *Config) { c.EpochTime = -1 }, "epoch time is -1ns"},
		"no data": {
			func(c *Config) { c.Data.Train.Pixels = nil },
			"130 training images have 0 bytes",
		},
		"no test images": {func(c *Config) { c.Data.Test.Labels = nil }, "0 test images"},
		"other sizes": {
			func(c *Config) { c.Data.Height = 32 },
			"images are 32 x 28 pixels, want 28 x 28",
		},
		"validation images cut": {
			func(c *Config) { c.Data.Validation.Pixels = make([]byte, 5) },
			"validation images have 5",
		},
		"value of no axis": {
			func(c *Config) { c.Values = map[string]float64{"noise": 1} },
			`noise is given: model "conv-autoencoder" has the axes ["filters" "depth" "kernel" "hidden" "loss"]`,
		},
		"too deep": {
			func(c *Config) { c.Values = map[string]float64{"depth": 5, "kernel": 4} },
			"images are too small: 28 x 28 pixels, want 64 or more a side for 5 convolutions with kernels of 4 x 4",
		},
		"too many filters": {
			func(c *Config) {
				c.Values = map[string]float64{"filters": 256, "kernel": 5, "depth": 2, "hidden": 4096}
			},
			"network is too large: encoder.l.0.weight would have 52428800 values, want up to 16777216",
		},
		"another loss": {func(c *Config) { c.SetText("loss", "mae") }, "loss is another text, want mse or bce"},
		"weights that nobody takes": {
			func(c *Config) { c.Pretrained = smallPretrained() },
			`pretrained weights are given: model "conv-autoencoder" begins with random ones`,
		},
		"denoising":           {func(c *Config) { *c = smallModel(t, DenoisingAutoencoder) }, ""},
		"denoising with most": {noise(10), ""},
		"no noise given": {
			func(c *Config) { c.Model = DenoisingAutoencoder },
			`noise is missing: model "denoising-autoencoder" needs a number above 0 to 10`,
		},
		"noise 0":        {noise(0), "noise is 0, want a number above 0 to 10"},
		"too much noise": {noise(10.5), "noise is 10.5, want"},
		"noise NaN":      {noise(math.NaN()), "noise is NaN, want"},
		"misspelt axis": {
			func(c *Config) { c.Model, c.Values = DenoisingAutoencoder, map[string]float64{"noise": 1, "nosie": 1} },
			`nosie is given: model "denoising-autoencoder" has the axes ` +
				`["filters" "depth" "kernel" "hidden" "loss" "noise"]`,
		},
		"variational": {func(c *Config) { c.Model = VariationalAutoencoder }, ""},
		"negative weight": {
			func(c *Config) {
				c.Model, c.Values = VariationalAutoencoder, map[string]float64{"divergence_weight": -1}
			},
			"divergence_weight is -1, want a number from 0 to 1000",
		},
		"classifier": {func(c *Config) { *c = smallModel(t, Classifier) }, ""},
		"half fine-tuned": {
			func(c *Config) { *c = withValues(smallModel(t, Classifier), map[string]float64{"fine_tune": 0.5}) },
			"fine_tune is 0.5, want a whole number from 0 to 1",
		},
		"too far": {
			func(c *Config) { *c = withValues(smallModel(t, Classifier), map[string]float64{"shift": 5}) },
			"shift is 5, want a whole number from 0 to 4",
		},
		"no pretrained weights": {
			func(c *Config) { c.Model = Classifier },
			`pretrained weights are missing: model "classifier" begins with those of ` +
				`["conv-autoencoder" "denoising-autoencoder"]`,
		},
		"pretrained weights of another latent dimension": {
			func(c *Config) { *c = smallModel(t, Classifier); c.LatentDim = 7 },
			"the pretrained checkpoint has 49799 weights, want 49928",
		},
		"pretrained weights of a run that diverged at once": {
			func(c *Config) {
				*c = smallModel(t, Classifier)
				c.Pretrained = c.Pretrained.Clone()
				c.Pretrained.progress.bestEpoch = 0
			},
			"no validation loss was finite",
		},
		"a label too many": {
			func(c *Config) {
				*c = smallModel(t, Classifier)
				c.Data.Test.Labels = slices.Repeat([]byte{10}, c.Data.Test.Len())
			},
			"test images have labels up to 10, want 0 to 9",
		},
		"no labels": {
			func(c *Config) {
				*c = smallModel(t, Classifier)
				c.Data.Unlabeled = true
			},
			"images have no labels, which the model learns",
		},
		"no labels, and none needed": {func(c *Config) { c.Data.Unlabeled = true }, ""},
		"two things at once":         {func(c *Config) { c.LatentDim, c.BatchSize = 0, 0 }, "batch size is 0"},
		"no pixels in images at all": {func(c *Config) { c.Data.Height, c.Data.Width = 0, 0 }, "images are 0 x 0"},
		"negative height and width": {
			func(c *Config) { c.Data.Height, c.Data.Width = -28, -28 },
			"images are -28 x -28",
		},
		"nothing that is right at all": {func(c *Config) { *c = Config{} }, `model is ""`},
	} {
		t.Run(name, func(t *testing.T) {
			config := small(t)
			test.change(&config)
			err := config.Validate()
			if test.want == "" {
				if err != nil {
					t.Errorf("got error %v, want none", err)
				}
				return
			}
			if !errors.Is(err, ErrInvalidConfig) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want %v that says %q", err, ErrInvalidConfig, test.want)
			}
			if _, trainErr := Train(t.Context(), config, func(Report) error {
				t.Error("trained nevertheless")
				return nil
			}); !errors.Is(trainErr, ErrInvalidConfig) {
				t.Errorf("Train returned %v, want %v", trainErr, ErrInvalidConfig)
			}
		})
	}
}

// noise changes a configuration to the denoising model with so much noise.
func noise(deviation float64) func(*Config) {
	return func(c *Config) { c.Model, c.Values = DenoisingAutoencoder, map[string]float64{"noise": deviation} }
}
