package convautoencoder

import (
	"trellis/trainer/model"
	"trellis/trainer/network"
)

// Name of the model.
const Name = "conv-autoencoder"

// Definition is the model. Its layers are the network package's, because other models share them.
type Definition struct{}

var _ model.Network = Definition{}

// Describe says what the model is.
func (Definition) Describe() model.Model {
	return model.Model{
		Name:    Name,
		Summary: "convolutional autoencoder: reconstructs images from a code (paper, section 2)",
		Axes:    model.Axes(append(model.ShapeAxes(), model.LossAxis())...),
		Data:    true,
		MinSide: model.MinSide, MaxSide: model.MaxSide, MaxChannels: model.MaxChannels,
		Loss: "mean squared error per pixel",
	}
}

// Layers builds the network.
func (Definition) Layers(b *network.Builder, input network.Input, latentDim int, values model.Values) {
	x := b.Images(input.Image)
	y := b.ConvAutoencoder(x, latentDim, model.ShapeOf(values))
	b.Reconstruction(y, x, values[model.Loss] == model.CrossEntropy)
}
