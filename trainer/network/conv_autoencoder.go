package network

import (
	"fmt"
	"slices"

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

// Shape is what a convolutional autoencoder's layers depend on, besides its images and the latent dimension.
type Shape struct {
	Convolutions
	// Hidden is the size of the linear layer between the convolutions and the codes, and of the one behind the codes.
	Hidden int
}

// PaperShape is that of the paper's convolutional autoencoder.
var PaperShape = Shape{Convolutions{Filters: 8, Depth: 3, Kernel: 3, Unpadded: true}, 64}

// NewConvAutoencoder builds the paper's convolutional autoencoder (section 2.1) for its images, with an encoded space
// of latentDim dimensions. Its loss is the mean squared error between an image and its reconstruction, over all pixels.
func NewConvAutoencoder(latentDim int) (*Network, error) {
	return Build(func(b *Builder) { convAutoencoder(b, latentDim) })
}

func convAutoencoder(b *Builder, latentDim int) {
	x := b.Images(Digits.Image)
	b.Minimize(b.MeanSquaredError(b.ConvAutoencoder(x, latentDim, PaperShape), x))
}

// ConvAutoencoder is the paper's convolutional autoencoder. It returns what that makes of x.
func (b *Builder) ConvAutoencoder(x *gorgonia.Node, latentDim int, shape Shape) *gorgonia.Node {
	z := b.ConvEncoder(x, latentDim, shape)
	return b.ConvDecoder(z, imageOf(x), shape)
}

// ConvEncoder is the autoencoder's first half: a convolutional section, then a linear section, from (channel, row,
// column, lane) to (latentDim, lane).
func (b *Builder) ConvEncoder(x *gorgonia.Node, latentDim int, shape Shape) *gorgonia.Node {
	h := b.Convolve(x, shape.Convolutions, func(i int) string { return fmt.Sprintf("encoder.c.%d", 2*i) })
	h = b.Linear("encoder.l.0", h, shape.Hidden, kernel.ReLU)
	b.Assert(h, shape.Hidden)
	z := b.Linear("encoder.l.2", h, latentDim, kernel.None)
	b.Assert(z, latentDim)
	b.Code(z)
	return z
}

// ConvDecoder is its second half: the encoder backwards, to an image.
func (b *Builder) ConvDecoder(z *gorgonia.Node, image Image, shape Shape) *gorgonia.Node {
	h := b.Linear("decoder.l.0", z, shape.Hidden, kernel.ReLU)
	b.Assert(h, shape.Hidden)
	h = b.Linear("decoder.l.2", h, b.Convolved(image, shape.Convolutions).Size(), kernel.ReLU)
	y := b.Deconvolve(h, image, shape.Convolutions, func(i int) string { return fmt.Sprintf("decoder.c.%d", 2*i) })
	b.Decoder(z, y)
	return y
}

// Convolutions are a network's convolutional section: Depth convolutions with stride 2 and a square kernel, of which
// the first has Filters filters, and each further one twice as many as the one before. All are padded by half of the
// kernel, so that they halve an image; Unpadded says that the last one is not.
type Convolutions struct {
	Filters, Depth, Kernel int
	Unpadded               bool
}

// stage is an image, and what a convolution with a window makes of it.
type stage struct {
	before, after Image
	window        Window
}

// stages are what the convolutions make of an image, one after the other: of the paper's, (1, 28, 28), those of its
// autoencoder make (8, 14, 14), (16, 7, 7) and (32, 3, 3). The error wraps ErrImage if one of them leaves nothing.
func (c Convolutions) stages(image Image) ([]stage, error) {
	stages := make([]stage, c.Depth)
	for i, before := 0, image; i < c.Depth; i++ {
		window := Window{Kernel: c.Kernel, Stride: 2, Padding: (c.Kernel - 1) / 2}
		if c.Unpadded && i == c.Depth-1 {
			window.Padding = 0
		}
		after := before.Convolved(c.Filters<<i, window)
		if min(after.Height, after.Width) < 1 {
			return nil, fmt.Errorf("%w: %d x %d pixels, want %d or more a side for %d convolutions with kernels of "+
				"%d x %[6]d", ErrImage, image.Height, image.Width, c.minSide(), c.Depth, c.Kernel)
		}
		stages[i] = stage{before, after, window}
		before = after
	}
	return stages, nil
}

// minSide is the smallest side of images of which the convolutions leave something.
func (c Convolutions) minSide() int {
	side := 1
	for i := range c.Depth {
		window := Window{Kernel: c.Kernel, Stride: 2, Padding: (c.Kernel - 1) / 2}
		if c.Unpadded && i == 0 {
			window.Padding = 0
		}
		// The smallest side of which the convolution makes one of so many pixels, from the last convolution to the
		// first.
		side = max(1, (side-1)*window.Stride+window.Kernel-2*window.Padding)
	}
	return side
}

// stages are those of the convolutions. There are none after an error.
func (b *Builder) stages(image Image, c Convolutions) []stage {
	if b.err != nil {
		return nil
	}
	stages, err := c.stages(image)
	b.err = err
	return stages
}

// Convolved is what convolutions make of an image in the end.
func (b *Builder) Convolved(image Image, c Convolutions) (last Image) {
	for _, stage := range b.stages(image, c) {
		last = stage.after
	}
	return last
}

// Convolve adds convolutions, each with a ReLU, and makes one vector of what they make of each image. name names them,
// from 0.
func (b *Builder) Convolve(x *gorgonia.Node, c Convolutions, name func(int) string) *gorgonia.Node {
	if b.err != nil {
		return nil
	}
	image := imageOf(x)
	for i, stage := range b.stages(image, c) {
		x = b.Convolution(name(i), x, stage.after.Channels, stage.window, kernel.ReLU)
		b.AssertImage(x, stage.after)
	}
	return b.Reshape(x, b.Convolved(image, c).Size())
}

// Deconvolve adds the way back from the vectors that Convolve makes of images: transposed convolutions, each with a
// ReLU, but for the last, whose sigmoid gives pixels between 0 and 1.
func (b *Builder) Deconvolve(x *gorgonia.Node, to Image, c Convolutions, name func(int) string) *gorgonia.Node {
	stages := b.stages(to, c)
	top := b.Convolved(to, c)
	x = b.Reshape(x, top.Channels, top.Height, top.Width)
	for i, stage := range slices.Backward(stages) {
		activation := kernel.ReLU
		if i == 0 {
			activation = kernel.Sigmoid
		}
		x = b.Transposed(name(len(stages)-1-i), x, stage.before.Channels, stage.window.Back(stage.before), activation)
		b.AssertImage(x, stage.before)
	}
	return x
}
