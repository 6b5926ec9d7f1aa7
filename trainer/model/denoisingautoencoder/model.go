package denoisingautoencoder

import (
	"trellis/trainer/model"
	"trellis/trainer/network"
)

// Name of the model, and of its axis.
const (
	Name  = "denoising-autoencoder"
	Noise = "noise"
)

// Definition is the model.
type Definition struct{}

var _ model.Network = Definition{}

// Describe says what the model is.
func (Definition) Describe() model.Model {
	return model.Model{
		Name:    Name,
		Summary: "denoising autoencoder: reconstructs images from noisy ones (paper, section 3)",
		Axes: model.Axes(append(model.ShapeAxes(), model.LossAxis(), model.Axis{
			Name: Noise,
			Summary: "standard deviation of the gaussian noise on every pixel, where black is 0 and white is 1; " +
				"what comes of it is not clamped",
			Kind: model.Number, Minimum: 0, ExclusiveMinimum: true, Maximum: 10,
		})...),
		Data:    true,
		MinSide: model.MinSide, MaxSide: model.MaxSide, MaxChannels: model.MaxChannels,
		Loss: "mean squared error per pixel, to the image without noise",
	}
}

// Layers builds the network.
func (Definition) Layers(b *network.Builder, input network.Input, latentDim int, values model.Values) {
	noisy, clean := b.NoisyImages(input.Image, values[Noise])
	y := b.ConvAutoencoder(noisy, latentDim, model.ShapeOf(values))
	b.Reconstruction(y, clean, values[model.Loss] == model.CrossEntropy)
}
