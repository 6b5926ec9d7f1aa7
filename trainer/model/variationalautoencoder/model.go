package variationalautoencoder

import (
	"trellis/trainer/kernel"
	"trellis/trainer/model"
	"trellis/trainer/network"
)

// Name of the model, and of its axis.
const (
	Name             = "variational-autoencoder"
	DivergenceWeight = "divergence_weight"
)

// minSide is the smallest side of its images. Two layers halve them, so that smaller ones would be possible.
const minSide = 8

// Definition is the model.
type Definition struct{}

var _ model.Network = Definition{}

// Describe says what the model is.
func (Definition) Describe() model.Model {
	one := 1.0
	return model.Model{
		Name:    Name,
		Summary: "variational autoencoder: encodes images as normal distributions (paper, section 5)",
		Axes: model.Axes(model.Axis{
			Name:    DivergenceWeight,
			Summary: "weight of the Kullback-Leibler divergence in the loss that is trained on",
			Kind:    model.Number, Minimum: 0, Maximum: 1000, Default: &one,
		}),
		Data:    true,
		MinSide: minSide, MaxSide: model.MaxSide, MaxChannels: model.MaxChannels,
		MaxWeights: model.MaxWeights, FeatureChannels: 128, FeatureScale: 4,
		Loss: "squared error of an image plus divergence of its distribution; in training the latter is weighted, in " +
			"validation and test its weight is 1, so that weights compare",
		Metrics: []model.Metric{
			{Name: "reconstruction", Summary: "squared error of an image, summed over its pixels"},
			{
				Name:    "divergence",
				Summary: "Kullback-Leibler divergence of an image's distribution from the standard normal one",
			},
		},
	}
}

// Layers builds the network.
func (Definition) Layers(b *network.Builder, input network.Input, latentDim int, values model.Values) {
	window := network.Window{Kernel: 4, Stride: 2, Padding: 1}
	// Of the paper's images, (1, 28, 28), these are (64, 14, 14) and (128, 7, 7).
	first := input.Convolved(64, window)
	second := first.Convolved(128, window)

	x := b.Images(input.Image)
	h := b.Convolution("encoder.c1", x, 64, window, kernel.ReLU)
	b.AssertImage(h, first)
	h = b.Convolution("encoder.c2", h, 128, window, kernel.ReLU)
	b.AssertImage(h, second)
	h = b.Reshape(h, second.Size())
	mean := b.Linear("encoder.mu", h, latentDim, kernel.None)
	logVariance := b.Linear("encoder.lv", h, latentDim, kernel.None)
	b.Code(mean)
	b.LogVariance(logVariance)

	z := b.Sample(mean, logVariance, b.Draws(latentDim))
	b.Assert(z, latentDim)

	h = b.Linear("decoder.l", z, second.Size(), kernel.ReLU)
	h = b.Reshape(h, second.Channels, second.Height, second.Width)
	h = b.Transposed("decoder.d1", h, 64, window.Back(first), kernel.ReLU)
	b.AssertImage(h, first)
	y := b.Transposed("decoder.d2", h, input.Channels, window.Back(input.Image), kernel.Sigmoid)
	b.AssertImage(y, input.Image)
	b.Decoder(z, y)

	reconstruction, divergence := b.SquaredError(y, x), b.Divergence(mean, logVariance)
	b.Minimize(b.WeightedSum(reconstruction, divergence, values[DivergenceWeight]))
	b.Score(b.WeightedSum(reconstruction, divergence, 1))
	b.Metric("reconstruction", reconstruction)
	b.Metric("divergence", divergence)
}
