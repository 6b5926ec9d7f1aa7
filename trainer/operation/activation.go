package operation

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"trellis/trainer/kernel"
)

// activationGradient makes the node of the loss's derivative by what went into an activation, from what came out, y,
// and the derivative by that. Layers apply their activations themselves, so there is no operation for the way forward.
func activationGradient(activation kernel.Activation, y, dy *gorgonia.Node) (*gorgonia.Node, error) {
	var backward func(dx, dy, y []float32)
	switch activation {
	case kernel.None:
		return dy, nil
	case kernel.ReLU:
		if by, ok := shown(dy).Op().(*op); ok && by.throughReLU {
			return dy, nil
		}
		backward = kernel.ReLUBackward
	case kernel.Sigmoid:
		if by, ok := dy.Op().(*op); ok && by.bySigmoid != nil {
			if inputs := Inputs(dy); inputs[0] == y {
				return gorgonia.ApplyOp(by.bySigmoid(), inputs...)
			}
		}
		backward = kernel.SigmoidBackward
	default:
		return nil, fmt.Errorf("differentiate activation %d: unknown", activation)
	}
	return gorgonia.ApplyOp(&op{
		name:   fmt.Sprintf("gradient of activation %d of %s", activation, y.Op()),
		inputs: []tensor.Shape{y.Shape(), y.Shape()},
		output: y.Shape(),
		compile: func(dx []float32, inputs ...[]float32) (Call, error) {
			y, dy := inputs[0], inputs[1]
			return Call{Tile: func() { backward(dx, dy, y) }}, nil
		},
	}, y, dy)
}
