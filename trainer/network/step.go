package network

import (
	"fmt"
	"slices"

	"gorgonia.org/gorgonia"

	"trellis/trainer/executor"
	"trellis/trainer/kernel"
	"trellis/trainer/operation"
)

// Kind is what a Step does.
type Kind int

// The kinds of steps.
const (
	// Convolution, Transposed (a transposed convolution) and Linear are layers with weights.
	Convolution Kind = iota
	Transposed
	Linear
	ReLU
	Sigmoid
	// Reshape gives the values of an image another shape.
	Reshape
	LogSoftmax
)

// Step is one operation of a trained network, as others describe networks: with images one after another, and
// activations as operations of their own. A step follows the one before it.
type Step struct {
	Kind Kind
	// Layer has the step's weights, or is the one whose activation it is. Empty for other steps.
	Layer string
	// Weight and Bias are a layer's. Window is how a convolution moves over an image.
	Weight, Bias Parameter
	Window       Window
	// Shape is that of one image's result.
	Shape []int
}

// Path is a part of a network.
type Path []Step

// Paths are the parts of a network. Those that it lacks are nil.
type Paths struct {
	// Encoder leads from images to codes, and Decoder from codes to images.
	Encoder, Decoder Path
	// LogVariance leads from images to the logarithms of the variances of the distributions whose means are the codes.
	LogVariance Path
	// Classifier leads from images to the logarithms of the classes' probabilities.
	Classifier Path
}

// Paths returns the parts of the network as steps. The weights alias the network's.
func (n *Network) Paths() (paths Paths, err error) {
	parts := n.nodes.parts
	for _, part := range []struct {
		path     *Path
		from, to *gorgonia.Node
	}{
		{&paths.Encoder, n.nodes.input, parts.code},
		{&paths.LogVariance, n.nodes.input, parts.logVariance},
		{&paths.Decoder, parts.decoded, parts.image},
		{&paths.Classifier, n.nodes.input, parts.classes},
	} {
		if part.from == nil || part.to == nil {
			continue
		}
		if *part.path, err = n.path(part.from, part.to); err != nil {
			return Paths{}, err
		}
	}
	return paths, nil
}

// path follows the graph back from one node to another: an operation's first input is what it is applied to.
func (n *Network) path(from, to *gorgonia.Node) (Path, error) {
	var reversed Path
	for node := to; node != from; {
		inputs := executor.Inputs(node)
		if len(inputs) == 0 {
			return nil, fmt.Errorf("%w: %v does not depend on %v", ErrNetwork, to, from)
		}
		steps, err := n.steps(node, inputs)
		if err != nil {
			return nil, err
		}
		slices.Reverse(steps)
		reversed = append(reversed, steps...)
		node = inputs[0]
	}
	slices.Reverse(reversed)
	return reversed, nil
}

// steps are what a node's operation does, in order.
func (n *Network) steps(node *gorgonia.Node, inputs gorgonia.Nodes) (Path, error) {
	shape := slices.Clone(node.Shape()[:node.Dims()-1])
	s, activation, ok := operation.LayerOf(node.Op())
	switch {
	case ok:
	case operation.IsView(node.Op()):
		return Path{{Kind: Reshape, Shape: shape}}, nil
	case operation.IsLogSoftmax(node.Op()):
		return Path{{Kind: LogSoftmax, Shape: shape}}, nil
	default:
		return nil, fmt.Errorf("%w: %v is no step", ErrNetwork, node.Op())
	}
	name := inputs[1].Name()
	weight := slices.IndexFunc(n.Parameters, func(p Parameter) bool { return p.Name == name+".weight" })
	step := Step{
		Kind: Convolution, Layer: name, Shape: shape,
		Weight: n.Parameters[weight], Bias: n.Parameters[weight+1],
		Window: Window{
			Kernel: s.KernelHeight, Stride: s.Stride, Padding: s.Padding,
			OutputPaddingHeight: s.OutputPaddingHeight, OutputPaddingWidth: s.OutputPaddingWidth,
		},
	}
	switch {
	case s == kernel.Linear(s.InChannels, s.OutChannels):
		step.Kind = Linear
	case s.Transposed:
		step.Kind = Transposed
	}
	steps := Path{step}
	switch activation {
	case kernel.None:
	case kernel.ReLU:
		steps = append(steps, Step{Kind: ReLU, Layer: name, Shape: shape})
	case kernel.Sigmoid:
		steps = append(steps, Step{Kind: Sigmoid, Layer: name, Shape: shape})
	default:
		return nil, fmt.Errorf("%w: activation %d of %s is no step", ErrNetwork, activation, name)
	}
	return steps, nil
}

// Image is the shape of the images that the network takes.
func (n *Network) Image() Image { return imageOf(n.nodes.input) }
