package network

import (
	"math"

	"trellis/trainer/kernel"
	"trellis/trainer/stream"
)

// Parameter is one tensor of weights or biases that is trained.
type Parameter struct {
	// Name is the layer's and ".weight" or ".bias", as PyTorch names the same network's.
	Name string
	// Shape is PyTorch's: (out, in, rows, columns) for a convolution, (in, out, rows, columns) for a transposed one,
	// (out, in) for a linear layer, (out) for biases.
	Shape []int
	// Values and Gradient, row-major. They alias the network's memory.
	Values, Gradient []float32

	fanIn int
}

// Size is the number of values.
func (p Parameter) Size() int {
	size := 1
	for _, length := range p.Shape {
		size *= length
	}
	return size
}

// parameters describes a layer's two parameters, which share its vector of values and that of gradients.
func (l layer) parameters(values, gradient []float32) []Parameter {
	its, n := l.tensors(), l.shape.Weights()
	its[0].Values, its[0].Gradient = values[:n:n], gradient[:n:n]
	its[1].Values, its[1].Gradient = values[n:], gradient[n:]
	return its
}

// tensors describes a layer's two parameters without their memory.
func (l layer) tensors() []Parameter {
	s := l.shape
	shape := []int{s.OutChannels, s.InChannels}
	if s.Transposed {
		shape = []int{s.InChannels, s.OutChannels}
	}
	if s != kernel.Linear(s.InChannels, s.OutChannels) {
		shape = append(shape, s.KernelHeight, s.KernelWidth)
	}
	// PyTorch counts a weight's second dimension as its inputs: those of a transposed convolution are its outputs.
	fanIn := shape[1] * s.KernelHeight * s.KernelWidth
	return []Parameter{
		{Name: l.name + ".weight", Shape: shape, fanIn: fanIn},
		{Name: l.name + ".bias", Shape: []int{s.OutChannels}, fanIn: fanIn},
	}
}

// Initialize sets all weights and biases as PyTorch does by default: Kaiming uniform with a = sqrt 5 for weights and
// uniform for biases, which both come to U(-1/sqrt(fan in), 1/sqrt(fan in)). Each parameter has a stream of its own.
func (n *Network) Initialize(seed uint32) {
	for i, p := range n.Parameters {
		stream.New(seed, stream.Weights, i).Uniform(p.Values, float32(1/math.Sqrt(float64(p.fanIn))))
	}
}
