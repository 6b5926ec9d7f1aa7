package trainer

import (
	"errors"
	"fmt"

	"trellis/trainer/dataset"
	"trellis/trainer/network"
)

// Largest values that a Config may hold. They bound memory, not what makes sense.
const (
	MaxLatentDim = 784
	MaxBatchSize = 65536
)

// Validate says what is wrong with the configuration, all of it, wrapped in ErrInvalidConfig.
func (c *Config) Validate() error {
	var wrong []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	check(c.Model == ConvAutoencoder || c.Model == Synthetic,
		"model is %q, want %q or %q", c.Model, ConvAutoencoder, Synthetic)
	check(c.LatentDim >= 1 && c.LatentDim <= MaxLatentDim,
		"latent dimension is %d, want 1 to %d", c.LatentDim, MaxLatentDim)
	check(c.LearningRate > 0 && finite(c.LearningRate), "learning rate is %v, want a number above 0", c.LearningRate)
	check(c.WeightDecay >= 0 && finite(c.WeightDecay), "weight decay is %v, want 0 or more", c.WeightDecay)
	check(c.BatchSize >= 1 && c.BatchSize <= MaxBatchSize, "batch size is %d, want 1 to %d", c.BatchSize, MaxBatchSize)
	check(c.MaxEpochs >= 1, "maximum of epochs is %d, want 1 or more", c.MaxEpochs)
	for _, epoch := range c.Milestones {
		check(epoch >= 1, "milestone is epoch %d, want 1 or more", epoch)
	}
	check(c.EarlyStopping.Patience >= 0, "patience is %d epochs, want 0 or more", c.EarlyStopping.Patience)
	check(c.EarlyStopping.MinDelta >= 0 && finite(c.EarlyStopping.MinDelta),
		"minimum decrease is %v, want 0 or more", c.EarlyStopping.MinDelta)
	check(c.EpochTime >= 0, "epoch time is %v, want 0 or more", c.EpochTime)
	if c.Model == ConvAutoencoder {
		height, width := c.Data.Height, c.Data.Width
		check(height == network.Side && width == network.Side,
			"images are %d x %d pixels, want %d x %d", height, width, network.Side, network.Side)
		for _, part := range []struct {
			name string
			dataset.Images
		}{{"training", c.Data.Train}, {"validation", c.Data.Validation}, {"test", c.Data.Test}} {
			check(part.Len() > 0 && len(part.Pixels) == part.Len()*height*width,
				"%d %s images have %d bytes, want one image or more, one byte a pixel",
				part.Len(), part.name, len(part.Pixels))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrInvalidConfig, errors.Join(wrong...))
}
