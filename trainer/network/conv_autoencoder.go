package network

import (
	"gorgonia.org/gorgonia"

	"trellis/trainer/kernel"
)

// Side is the height and width of the images that the paper's networks take, in pixels.
const Side = 28

// NewConvAutoencoder builds the paper's convolutional autoencoder (section 2.1) with an encoded space of latentDim
// dimensions. Its loss is the mean squared error between an image and its reconstruction, over all pixels.
func NewConvAutoencoder(latentDim int) (*Network, error) {
	return Build(func(b *Builder) { convAutoencoder(b, latentDim) })
}

func convAutoencoder(b *Builder, latentDim int) {
	x := b.Images(1, Side, Side)
	b.ConvAutoencoder(x, x, latentDim)
}

// ConvAutoencoder is the paper's convolutional autoencoder, whose loss is the mean squared error between what it makes
// of x and the target, over all pixels.
func (b *Builder) ConvAutoencoder(x, target *gorgonia.Node, latentDim int) {
	z := b.ConvEncoder(x, latentDim)
	y := b.ConvDecoder(z)
	b.Minimize(b.MeanSquaredError(y, target))
}

// ConvEncoder is the autoencoder's first half: a convolutional section, then a linear section, from (1, 28, 28, lane)
// to (latentDim, lane).
func (b *Builder) ConvEncoder(x *gorgonia.Node, latentDim int) *gorgonia.Node {
	h := b.Convolution("encoder.c.0", x, 8, Window{Kernel: 3, Stride: 2, Padding: 1}, kernel.ReLU)
	b.Assert(h, 8, 14, 14)
	h = b.Convolution("encoder.c.2", h, 16, Window{Kernel: 3, Stride: 2, Padding: 1}, kernel.ReLU)
	b.Assert(h, 16, 7, 7)
	h = b.Convolution("encoder.c.4", h, 32, Window{Kernel: 3, Stride: 2}, kernel.ReLU)
	b.Assert(h, 32, 3, 3)
	h = b.Reshape(h, 288)
	h = b.Linear("encoder.l.0", h, 64, kernel.ReLU)
	b.Assert(h, 64)
	z := b.Linear("encoder.l.2", h, latentDim, kernel.None)
	b.Assert(z, latentDim)
	b.Code(z)
	return z
}

// ConvDecoder is its second half: the encoder backwards.
func (b *Builder) ConvDecoder(z *gorgonia.Node) *gorgonia.Node {
	h := b.Linear("decoder.l.0", z, 64, kernel.ReLU)
	b.Assert(h, 64)
	h = b.Linear("decoder.l.2", h, 288, kernel.ReLU)
	b.Assert(h, 288)
	h = b.Reshape(h, 32, 3, 3)
	h = b.Transposed("decoder.c.0", h, 16, Window{Kernel: 3, Stride: 2}, kernel.ReLU)
	b.Assert(h, 16, 7, 7)
	h = b.Transposed("decoder.c.2", h, 8, Window{Kernel: 3, Stride: 2, Padding: 1, OutputPadding: 1}, kernel.ReLU)
	b.Assert(h, 8, 14, 14)
	y := b.Transposed("decoder.c.4", h, 1, Window{Kernel: 3, Stride: 2, Padding: 1, OutputPadding: 1}, kernel.Sigmoid)
	b.Assert(y, 1, Side, Side)
	b.Decoder(z, y)
	return y
}
