package network

import (
	"fmt"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"trellis/trainer/kernel"
	"trellis/trainer/operation"
)

// Builder makes a network's graph for one tile of images. After the first error its methods do nothing, so that a
// network reads as a list of layers.
type Builder struct {
	graph *gorgonia.ExprGraph
	err   error
	// input holds the tile's images, share is what each lane counts in the loss, and shared how many values of an image
	// have one share; 0 before the first loss.
	input, share *gorgonia.Node
	shared       int
	// noise is the standard deviation of the noise on the input; clean holds the images without it. Nil: there is none.
	noise float64
	clean *gorgonia.Node
	// shift is by how many pixels training images are moved at most.
	shift int
	// labels are the images', of which there are so many, and draws are normal numbers drawn for them; nil if there are
	// none.
	labels, draws *gorgonia.Node
	labelCount    int
	// loss is what is trained on, and score what validation and test give.
	loss, score *gorgonia.Node
	metrics     []metric
	layers      []layer
	// frozen says that layers are being added that are not trained, and codes is what these make of the images; nil if
	// there are none.
	frozen bool
	codes  *gorgonia.Node
	parts  parts
}

// metric is a scalar that is reported.
type metric struct {
	name string
	node *gorgonia.Node
}

// layer is a layer's parameters in the graph.
type layer struct {
	name string
	// node is a vector of the layer's weights and biases.
	node  *gorgonia.Node
	shape kernel.Shape
	// frozen layers are not trained.
	frozen bool
}

// Window is how a convolution's square kernel moves over an image. A transposed convolution's output padding adds rows
// at the bottom and columns at the right.
type Window struct{ Kernel, Stride, Padding, OutputPaddingHeight, OutputPaddingWidth int }

// Back is the window of the transposed convolution that leads from what a convolution with the window makes of images
// back to images of their size: strides may have left rows and columns over, which the output padding adds.
func (w Window) Back(to Image) Window {
	w.OutputPaddingHeight = (to.Height + 2*w.Padding - w.Kernel) % w.Stride
	w.OutputPaddingWidth = (to.Width + 2*w.Padding - w.Kernel) % w.Stride
	return w
}

// Image is the shape of an image: that of an activation before or after a convolution, without its lanes.
type Image struct{ Channels, Height, Width int }

// Size is the number of an image's values.
func (i Image) Size() int { return i.Channels * i.Height * i.Width }

// Convolved is what a convolution with so many filters makes of the image. Its sides are 0 if the window does not fit.
func (i Image) Convolved(filters int, w Window) Image {
	s := w.shape(i, filters)
	return Image{filters, s.OutHeight(), s.OutWidth()}
}

// shape is that of a layer from such images to so many filters.
func (w Window) shape(in Image, filters int) kernel.Shape {
	return kernel.Shape{
		InChannels: in.Channels, InHeight: in.Height, InWidth: in.Width,
		OutChannels:  filters,
		KernelHeight: w.Kernel, KernelWidth: w.Kernel,
		Stride: w.Stride, Padding: w.Padding,
		OutputPaddingHeight: w.OutputPaddingHeight, OutputPaddingWidth: w.OutputPaddingWidth,
	}
}

// Images is the network's input: a tile of images, (channel, row, column, lane).
func (b *Builder) Images(image Image) *gorgonia.Node {
	b.input = b.tile("images", image.Channels, image.Height, image.Width)
	b.share = gorgonia.NewVector(b.graph, tensor.Float32, gorgonia.WithShape(kernel.Lanes), gorgonia.WithName("share"))
	return b.input
}

// NoisyImages is the network's input with normally distributed noise of that standard deviation added to every pixel,
// drawn anew in each epoch of training; and the same images without it.
func (b *Builder) NoisyImages(image Image, deviation float64) (noisy, clean *gorgonia.Node) {
	noisy = b.Images(image)
	b.noise, b.clean = deviation, b.tile("clean images", image.Channels, image.Height, image.Width)
	return noisy, b.clean
}

// Shift moves training images by up to so many pixels in each direction, anew in each epoch.
func (b *Builder) Shift(reach int) { b.shift = reach }

// Draws are count standard normal numbers for each image, drawn anew in each epoch of training: (number, lane).
func (b *Builder) Draws(count int) *gorgonia.Node {
	b.draws = b.tile("draws", count)
	return b.draws
}

// Labels are the images' labels, (lane), each a whole number below count.
func (b *Builder) Labels(count int) *gorgonia.Node {
	b.labels, b.labelCount = b.tile("labels"), count
	return b.labels
}

// tile is an input of that shape per image.
func (b *Builder) tile(name string, shape ...int) *gorgonia.Node {
	shape = append(shape, kernel.Lanes)
	return gorgonia.NewTensor(b.graph, tensor.Float32, len(shape), gorgonia.WithShape(shape...),
		gorgonia.WithName(name))
}

// Convolution is a layer from (channel, row, column, lane) to (filter, row, column, lane).
func (b *Builder) Convolution(
	name string, x *gorgonia.Node, filters int, w Window, activation kernel.Activation,
) *gorgonia.Node {
	return b.windowed(name, x, filters, w, activation, false)
}

// Transposed is a transposed convolution from (channel, row, column, lane) to (filter, row, column, lane).
func (b *Builder) Transposed(
	name string, x *gorgonia.Node, filters int, w Window, activation kernel.Activation,
) *gorgonia.Node {
	return b.windowed(name, x, filters, w, activation, true)
}

func (b *Builder) windowed(
	name string, x *gorgonia.Node, filters int, w Window, activation kernel.Activation, transposed bool,
) *gorgonia.Node {
	if b.err != nil {
		return nil
	}
	shape := w.shape(imageOf(x), filters)
	shape.Transposed = transposed
	return b.layer(name, x, activation, shape)
}

// Linear is a fully connected layer from (feature, lane) to (out, lane).
func (b *Builder) Linear(name string, x *gorgonia.Node, out int, activation kernel.Activation) *gorgonia.Node {
	if b.err != nil {
		return nil
	}
	return b.layer(name, x, activation, kernel.Linear(x.Shape()[0], out))
}

func (b *Builder) layer(
	name string, x *gorgonia.Node, activation kernel.Activation, shape kernel.Shape,
) *gorgonia.Node {
	if b.frozen && slices.ContainsFunc(b.layers, func(l layer) bool { return !l.frozen }) {
		b.err = fmt.Errorf("%s is frozen, but not all layers before it are: %w", name, ErrNetwork)
		return nil
	}
	parameters := gorgonia.NewVector(b.graph, tensor.Float32,
		gorgonia.WithShape(operation.ParameterCount(shape)), gorgonia.WithName(name))
	b.layers = append(b.layers, layer{name, parameters, shape, b.frozen})
	y := b.check(operation.Layer(name, x, parameters, shape, activation))
	if b.frozen {
		b.codes = y
	}
	return y
}

// Frozen adds layers that are not trained: they keep the weights that they are given. They come before all others.
func (b *Builder) Frozen(layers func()) {
	b.frozen = true
	layers()
	b.frozen = false
}

// Reshape gives a tile's values another shape per image.
func (b *Builder) Reshape(x *gorgonia.Node, shape ...int) *gorgonia.Node {
	if b.err != nil {
		return nil
	}
	return b.check(operation.Reshape(x, append(shape, kernel.Lanes)...))
}

// Sample draws from normal distributions, given their means, the logarithms of their variances, and Draws.
func (b *Builder) Sample(mean, logVariance, draws *gorgonia.Node) *gorgonia.Node {
	if b.err != nil {
		return nil
	}
	return b.check(operation.Sample(mean, logVariance, draws))
}

// LogSoftmax makes logarithms of probabilities out of scores, (class, lane) each.
func (b *Builder) LogSoftmax(x *gorgonia.Node) *gorgonia.Node {
	if b.err != nil {
		return nil
	}
	return b.check(operation.LogSoftmax(x))
}

// imageOf is the shape of a node of images, (channel, row, column, lane).
func imageOf(x *gorgonia.Node) Image {
	shape := x.Shape()
	return Image{shape[0], shape[1], shape[2]}
}

// AssertImage fails the build if a layer's output are images of another shape.
func (b *Builder) AssertImage(x *gorgonia.Node, image Image) {
	b.Assert(x, image.Channels, image.Height, image.Width)
}

// Assert fails the build if a layer's output has another shape per image.
func (b *Builder) Assert(x *gorgonia.Node, shape ...int) {
	if b.err != nil {
		return
	}
	if want := tensor.Shape(append(shape, kernel.Lanes)); !x.Shape().Eq(want) {
		b.err = fmt.Errorf("%v has shape %v, want %v: %w", x.Op(), x.Shape(), want, operation.ErrShape)
	}
}

func (b *Builder) check(node *gorgonia.Node, err error) *gorgonia.Node {
	if err != nil {
		b.err = err
		return nil
	}
	return node
}
