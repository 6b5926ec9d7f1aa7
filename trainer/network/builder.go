package network

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"trellis/trainer/kernel"
	"trellis/trainer/operation"
)

// builder makes a network's graph for one tile of images. After the first error its methods do nothing, so that a
// network reads as a list of layers.
type builder struct {
	graph *gorgonia.ExprGraph
	err   error
	// input holds the tile's images, and share is what each lane counts in the loss.
	input, share, loss *gorgonia.Node
	layers             []layer
}

// layer is a layer's parameters in the graph.
type layer struct {
	name string
	// node is a vector of the layer's weights and biases.
	node  *gorgonia.Node
	shape kernel.Shape
}

// window is how a convolution's square kernel moves over an image. A transposed convolution's output padding adds rows
// at the bottom and columns at the right.
type window struct{ kernel, stride, padding, outputPadding int }

// images is the network's input: a tile of images, (channel, row, column, lane).
func (b *builder) images(channels, height, width int) *gorgonia.Node {
	b.input = gorgonia.NewTensor(b.graph, tensor.Float32, 4,
		gorgonia.WithShape(channels, height, width, kernel.Lanes), gorgonia.WithName("images"))
	b.share = gorgonia.NewVector(b.graph, tensor.Float32, gorgonia.WithShape(kernel.Lanes), gorgonia.WithName("share"))
	return b.input
}

// convolution is a layer from (channel, row, column, lane) to (filter, row, column, lane).
func (b *builder) convolution(
	name string, x *gorgonia.Node, filters int, w window, activation kernel.Activation,
) *gorgonia.Node {
	return b.windowed(name, x, filters, w, activation, false)
}

// transposed is a transposed convolution from (channel, row, column, lane) to (filter, row, column, lane).
func (b *builder) transposed(
	name string, x *gorgonia.Node, filters int, w window, activation kernel.Activation,
) *gorgonia.Node {
	return b.windowed(name, x, filters, w, activation, true)
}

func (b *builder) windowed(
	name string, x *gorgonia.Node, filters int, w window, activation kernel.Activation, transposed bool,
) *gorgonia.Node {
	if b.err != nil {
		return nil
	}
	in := x.Shape()
	return b.layer(name, x, activation, kernel.Shape{
		InChannels: in[0], InHeight: in[1], InWidth: in[2],
		OutChannels:  filters,
		KernelHeight: w.kernel, KernelWidth: w.kernel,
		Stride: w.stride, Padding: w.padding, OutputPadding: w.outputPadding,
		Transposed: transposed,
	})
}

// linear is a fully connected layer from (feature, lane) to (out, lane).
func (b *builder) linear(name string, x *gorgonia.Node, out int, activation kernel.Activation) *gorgonia.Node {
	if b.err != nil {
		return nil
	}
	return b.layer(name, x, activation, kernel.Linear(x.Shape()[0], out))
}

func (b *builder) layer(
	name string, x *gorgonia.Node, activation kernel.Activation, shape kernel.Shape,
) *gorgonia.Node {
	parameters := gorgonia.NewVector(b.graph, tensor.Float32,
		gorgonia.WithShape(operation.ParameterCount(shape)), gorgonia.WithName(name))
	b.layers = append(b.layers, layer{name, parameters, shape})
	return b.check(operation.Layer(name, x, parameters, shape, activation))
}

// reshape gives a tile's values another shape per image.
func (b *builder) reshape(x *gorgonia.Node, shape ...int) *gorgonia.Node {
	if b.err != nil {
		return nil
	}
	return b.check(operation.Reshape(x, append(shape, kernel.Lanes)...))
}

// squaredError makes the mean squared error, over a batch's images and all their values, the network's loss.
func (b *builder) squaredError(output, target *gorgonia.Node) {
	if b.err != nil {
		return
	}
	b.loss = b.check(operation.SquaredError(output, target, b.share))
}

// assert fails the build if a layer's output has another shape per image.
func (b *builder) assert(x *gorgonia.Node, shape ...int) {
	if b.err != nil {
		return
	}
	if want := tensor.Shape(append(shape, kernel.Lanes)); !x.Shape().Eq(want) {
		b.err = fmt.Errorf("%v has shape %v, want %v: %w", x.Op(), x.Shape(), want, operation.ErrShape)
	}
}

func (b *builder) check(node *gorgonia.Node, err error) *gorgonia.Node {
	if err != nil {
		b.err = err
		return nil
	}
	return node
}
