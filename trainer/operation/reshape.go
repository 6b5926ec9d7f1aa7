package operation

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Reshape gives the same values another shape of the same size.
func Reshape(x *gorgonia.Node, shape ...int) (*gorgonia.Node, error) {
	to := tensor.Shape(shape).Clone()
	if to.TotalSize() != x.Shape().TotalSize() {
		return nil, fmt.Errorf("reshape %v to %v: %w: sizes differ", x.Shape(), to, ErrShape)
	}
	return gorgonia.ApplyOp(reshape(x.Shape(), to), x)
}

func reshape(from, to tensor.Shape) *op {
	return &op{
		name:   fmt.Sprintf("reshape %v to %v", from, to),
		inputs: []tensor.Shape{from},
		output: to,
		view:   true,
		compile: func(output []float32, inputs ...[]float32) (Call, error) {
			return Call{Tile: func() { copy(output, inputs[0]) }}, nil
		},
		differentiable: []bool{true},
		gradient: func(_ gorgonia.Nodes, _, grad *gorgonia.Node) (gorgonia.Nodes, error) {
			dx, err := gorgonia.ApplyOp(reshape(to, from), grad)
			return gorgonia.Nodes{dx}, err
		},
	}
}
