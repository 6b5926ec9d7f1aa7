package operation

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"trellis/trainer/kernel"
)

// Layer is a convolution, a transposed convolution or a linear layer, whatever its shape says, and its activation:
//
//	y = activation(weights * x + bias)
//
// x is (channel, row, column, lane), or (feature, lane) for a linear layer, and so is the result. The parameters are
// one vector, because their gradients come from one pass: the weights as PyTorch arranges them, then the biases, one
// per output channel. ParameterCount is its length. The name tells the layer apart in its graph.
func Layer(
	name string, x, parameters *gorgonia.Node, shape kernel.Shape, activation kernel.Activation,
) (*gorgonia.Node, error) {
	if err := shape.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	l := &layer{name: name, shape: shape, activation: activation}
	return gorgonia.ApplyOp(l.forward(), x, parameters)
}

// ParameterCount is the number of weights and biases of a layer.
func ParameterCount(shape kernel.Shape) int { return shape.Weights() + shape.OutChannels }

// layer makes the operations of one layer.
type layer struct {
	name       string
	shape      kernel.Shape
	activation kernel.Activation
}

// input, output and parameters are the shapes of the layer's values.
func (l *layer) input() tensor.Shape {
	return tileShape(l.linear(), l.shape.InChannels, l.shape.InHeight, l.shape.InWidth)
}

func (l *layer) output() tensor.Shape {
	return tileShape(l.linear(), l.shape.OutChannels, l.shape.OutHeight(), l.shape.OutWidth())
}

func (l *layer) parameters() tensor.Shape { return tensor.Shape{ParameterCount(l.shape)} }

func (l *layer) linear() bool {
	return l.shape == kernel.Linear(l.shape.InChannels, l.shape.OutChannels)
}

func tileShape(linear bool, channels, height, width int) tensor.Shape {
	if linear {
		return tensor.Shape{channels, kernel.Lanes}
	}
	return tensor.Shape{channels, height, width, kernel.Lanes}
}

// forward computes y from (x, parameters).
func (l *layer) forward() *op {
	return &op{
		name:    fmt.Sprintf("%s: %v, activation %d", l.name, l.shape, l.activation),
		inputs:  []tensor.Shape{l.input(), l.parameters()},
		output:  l.output(),
		forward: l,
		compile: func(y []float32, inputs ...[]float32) (Call, error) {
			parameters := inputs[1]
			conv, err := kernel.NewConv(l.shape, kernel.Forward)
			if err != nil {
				return Call{}, err
			}
			weights, bias := parameters[:l.shape.Weights()], parameters[l.shape.Weights():]
			return prepared(func() { conv.SetWeights(weights, bias) }, func(y []float32, inputs ...[]float32) func() {
				x, conv := inputs[0], conv.Beside()
				return func() { conv.Forward(y, x, l.activation) }
			}, y, inputs), nil
		},
		differentiable: []bool{true, true},
		gradient: func(inputs gorgonia.Nodes, y, dy *gorgonia.Node) (gorgonia.Nodes, error) {
			x, parameters := inputs[0], inputs[1]
			dSums, err := activationGradient(l.activation, y, dy)
			if err != nil {
				return nil, err
			}
			dParameters, err := gorgonia.ApplyOp(l.parameterGradient(), x, dSums)
			if err != nil {
				return nil, err
			}
			ofReLU, needed := isReLU(x), gorgonia.Nodes{parameters, dSums}
			if ofReLU {
				needed = append(needed, x)
			}
			dx, err := gorgonia.ApplyOp(l.inputGradient(ofReLU), needed...)
			if err != nil {
				return nil, err
			}
			return gorgonia.Nodes{dx, dParameters}, nil
		},
	}
}

// inputGradient computes the loss's derivative by x from (parameters, its derivative by the sums before the
// activation). ofReLU: a layer's ReLU has made x, which is the last input, and the derivative is by what went in.
func (l *layer) inputGradient(ofReLU bool) *op {
	name, inputs := "gradient by input", []tensor.Shape{l.parameters(), l.output()}
	if ofReLU {
		name, inputs = "gradient by input from a ReLU", append(inputs, l.input())
	}
	return &op{
		name:        fmt.Sprintf("%s: %v, %s", l.name, l.shape, name),
		inputs:      inputs,
		output:      l.input(),
		throughReLU: ofReLU,
		compile: func(dx []float32, inputs ...[]float32) (Call, error) {
			weights := inputs[0][:l.shape.Weights()]
			conv, err := kernel.NewConv(l.shape, kernel.BackwardInput)
			if err != nil {
				return Call{}, err
			}
			return prepared(func() { conv.SetWeights(weights, nil) }, func(dx []float32, inputs ...[]float32) func() {
				dSums, conv := inputs[1], conv.Beside()
				if ofReLU {
					x := inputs[2]
					return func() { conv.BackwardInputOfReLU(dx, dSums, x) }
				}
				return func() { conv.BackwardInput(dx, dSums) }
			}, dx, inputs), nil
		},
	}
}

// isReLU says whether a node is the output of a layer that ends in a ReLU.
func isReLU(x *gorgonia.Node) bool {
	made, ok := shown(x).Op().(*op)
	return ok && made.forward != nil && made.forward.activation == kernel.ReLU
}

// parameterGradient computes the loss's derivative by the parameters from (x, its derivative by the sums before the
// activation), summed over a batch.
func (l *layer) parameterGradient() *op {
	return &op{
		name:   fmt.Sprintf("%s: %v, gradient by parameters", l.name, l.shape),
		inputs: []tensor.Shape{l.input(), l.output()},
		output: l.parameters(),
		compile: func(dParameters []float32, inputs ...[]float32) (Call, error) {
			conv, err := kernel.NewConv(l.shape, kernel.BackwardWeights)
			if err != nil {
				return Call{}, err
			}
			dWeights, dBias := dParameters[:l.shape.Weights()], dParameters[l.shape.Weights():]
			tile := func(conv *kernel.Conv, inputs ...[]float32) func() {
				x, dSums := inputs[0], inputs[1]
				return func() { conv.BackwardWeights(dSums, x) }
			}
			return Call{
				Begin: conv.ZeroGrad, Tile: tile(conv, inputs...), End: func() { conv.Gradient(dWeights, dBias) },
				Beside: func(_ []float32, inputs ...[]float32) func() { return tile(conv.Beside(), inputs...) },
			}, nil
		},
	}
}
