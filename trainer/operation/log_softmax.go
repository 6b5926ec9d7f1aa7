package operation

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"trellis/trainer/kernel"
)

// LogSoftmax makes logarithms of probabilities out of scores, (class, lane) each:
//
//	y[class] = x[class] - log(sum over classes: exp(x))
func LogSoftmax(x *gorgonia.Node) (*gorgonia.Node, error) {
	if x.Shape().Dims() != 2 {
		return nil, fmt.Errorf("logarithm of softmax: %w: got %v, want (classes, %d)", ErrShape, x.Shape(),
			kernel.Lanes)
	}
	return gorgonia.ApplyOp(logSoftmax(x.Shape()), x)
}

func logSoftmax(shape tensor.Shape) *op {
	return &op{
		name:       fmt.Sprintf("logarithm of softmax of %v", shape),
		inputs:     []tensor.Shape{shape},
		output:     shape,
		logSoftmax: true,
		compile: func(y []float32, inputs ...[]float32) (Call, error) {
			x, exponentials := inputs[0], kernel.Values(len(y))
			return Call{Tile: func() { kernel.LogSoftmax(y, x, exponentials) }}, nil
		},
		differentiable: []bool{true},
		gradient: func(_ gorgonia.Nodes, y, dy *gorgonia.Node) (gorgonia.Nodes, error) {
			dx, err := gorgonia.ApplyOp(logSoftmaxGradient(shape), y, dy)
			return gorgonia.Nodes{dx}, err
		},
	}
}

// logSoftmaxGradient computes dx = dy - exp(y) * (sum over classes: dy) from (y, dy).
func logSoftmaxGradient(shape tensor.Shape) *op {
	return &op{
		name:   fmt.Sprintf("gradient of logarithm of softmax of %v", shape),
		inputs: []tensor.Shape{shape, shape},
		output: shape,
		compile: func(dx []float32, inputs ...[]float32) (Call, error) {
			y, dy := inputs[0], inputs[1]
			return Call{Tile: func() { kernel.LogSoftmaxBackward(dx, dy, y) }}, nil
		},
	}
}
