package variationalautoencoder

import (
	"fmt"

	"trellis/trainer/kernel"
	"trellis/trainer/model"
	"trellis/trainer/network"
)

// Name of the model, and of its axis.
const (
	Name             = "variational-autoencoder"
	DivergenceWeight = "divergence_weight"
)

// paper are the paper's convolutions.
var paper = network.Convolutions{Filters: 64, Depth: 2, Kernel: 4}

// Definition is the model.
type Definition struct{}

var _ model.Network = Definition{}

// Describe says what the model is.
func (Definition) Describe() model.Model {
	one := 1.0
	return model.Model{
		Name:    Name,
		Summary: "variational autoencoder: encodes images as normal distributions (paper, section 5)",
		Axes: model.Axes(append(model.ConvolutionAxes(paper), model.Axis{
			Name:    DivergenceWeight,
			Summary: "weight of the Kullback-Leibler divergence in the loss that is trained on",
			Kind:    model.Number, Minimum: 0, Maximum: 1000, Default: &one,
		})...),
		Data:    true,
		MinSide: model.MinSide, MaxSide: model.MaxSide, MaxChannels: model.MaxChannels,
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
	convolutions := model.ConvolutionsOf(values, paper)
	features := b.Convolved(input.Image, convolutions).Size()

	x := b.Images(input.Image)
	h := b.Convolve(x, convolutions, func(i int) string { return fmt.Sprintf("encoder.c%d", i+1) })
	b.Assert(h, features)
	mean := b.Linear("encoder.mu", h, latentDim, kernel.None)
	logVariance := b.Linear("encoder.lv", h, latentDim, kernel.None)
	b.Code(mean)
	b.LogVariance(logVariance)

	z := b.Sample(mean, logVariance, b.Draws(latentDim))
	b.Assert(z, latentDim)

	h = b.Linear("decoder.l", z, features, kernel.ReLU)
	y := b.Deconvolve(h, input.Image, convolutions, func(i int) string { return fmt.Sprintf("decoder.d%d", i+1) })
	b.Decoder(z, y)

	reconstruction, divergence := b.SquaredError(y, x), b.Divergence(mean, logVariance)
	b.Minimize(b.WeightedSum(reconstruction, divergence, values[DivergenceWeight]))
	b.Score(b.WeightedSum(reconstruction, divergence, 1))
	b.Metric("reconstruction", reconstruction)
	b.Metric("divergence", divergence)
}
