package network

import (
	"gorgonia.org/gorgonia"

	"trellis/trainer/kernel"
)

// Side is the height and the width of the paper's images, in pixels.
const Side = 28

// Digits is what the paper's networks are given: gray images of ten classes.
var Digits = Input{Image: Image{Channels: 1, Height: Side, Width: Side}, Classes: 10}

// Input is what a network is given.
type Input struct {
	Image
	// Classes is how many classes the images have. Networks without labels ignore it.
	Classes int
}

// NewConvAutoencoder builds the paper's convolutional autoencoder (section 2.1) for its images, with an encoded space
// of latentDim dimensions. Its loss is the mean squared error between an image and its reconstruction, over all pixels.
func NewConvAutoencoder(latentDim int) (*Network, error) {
	return Build(func(b *Builder) { convAutoencoder(b, latentDim) })
}

func convAutoencoder(b *Builder, latentDim int) {
	x := b.Images(Digits.Image)
	b.ConvAutoencoder(x, x, latentDim)
}

// ConvAutoencoder is the paper's convolutional autoencoder, whose loss is the mean squared error between what it makes
// of x and the target, over all pixels.
func (b *Builder) ConvAutoencoder(x, target *gorgonia.Node, latentDim int) {
	z := b.ConvEncoder(x, latentDim)
	y := b.ConvDecoder(z, imageOf(x))
	b.Minimize(b.MeanSquaredError(y, target))
}

// The windows of the convolutional section.
var (
	padded   = Window{Kernel: 3, Stride: 2, Padding: 1}
	unpadded = Window{Kernel: 3, Stride: 2}
)

// ConvMinSide is the smallest side of an image of which the convolutional section leaves something.
const ConvMinSide = 9

// convolved are the images that the layers of the convolutional section make of an image: of the paper's, (1, 28, 28),
// they are (8, 14, 14), (16, 7, 7) and (32, 3, 3).
func convolved(image Image) (first, second, third Image) {
	first = image.Convolved(8, padded)
	second = first.Convolved(16, padded)
	return first, second, second.Convolved(32, unpadded)
}

// ConvEncoder is the autoencoder's first half: a convolutional section, then a linear section, from (channel, row,
// column, lane) to (latentDim, lane).
func (b *Builder) ConvEncoder(x *gorgonia.Node, latentDim int) *gorgonia.Node {
	first, second, third := convolved(imageOf(x))

	h := b.Convolution("encoder.c.0", x, 8, padded, kernel.ReLU)
	b.AssertImage(h, first)
	h = b.Convolution("encoder.c.2", h, 16, padded, kernel.ReLU)
	b.AssertImage(h, second)
	h = b.Convolution("encoder.c.4", h, 32, unpadded, kernel.ReLU)
	b.AssertImage(h, third)
	h = b.Reshape(h, third.Size())
	h = b.Linear("encoder.l.0", h, 64, kernel.ReLU)
	b.Assert(h, 64)
	z := b.Linear("encoder.l.2", h, latentDim, kernel.None)
	b.Assert(z, latentDim)
	b.Code(z)
	return z
}

// ConvDecoder is its second half: the encoder backwards, to an image.
func (b *Builder) ConvDecoder(z *gorgonia.Node, image Image) *gorgonia.Node {
	first, second, third := convolved(image)

	h := b.Linear("decoder.l.0", z, 64, kernel.ReLU)
	b.Assert(h, 64)
	h = b.Linear("decoder.l.2", h, third.Size(), kernel.ReLU)
	h = b.Reshape(h, third.Channels, third.Height, third.Width)
	h = b.Transposed("decoder.c.0", h, 16, unpadded.Back(second), kernel.ReLU)
	b.AssertImage(h, second)
	h = b.Transposed("decoder.c.2", h, 8, padded.Back(first), kernel.ReLU)
	b.AssertImage(h, first)
	y := b.Transposed("decoder.c.4", h, image.Channels, padded.Back(image), kernel.Sigmoid)
	b.AssertImage(y, image)
	b.Decoder(z, y)
	return y
}
