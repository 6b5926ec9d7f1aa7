package operation

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"trellis/trainer/kernel"
)

// CrossEntropy is the scalar
//
//	sum over a batch's tiles, lanes and values: -share[lane] (target log(prediction) + (1-target) log(1-prediction))
//
// with logarithms of at least -100, as PyTorch has them. Predictions are between 0 and 1. Its inputs are
// SquaredError's, and it can be differentiated by the prediction.
func CrossEntropy(prediction, target, share *gorgonia.Node) (*gorgonia.Node, error) {
	shape := prediction.Shape()
	return gorgonia.ApplyOp(&op{
		name:   fmt.Sprintf("cross-entropy of %v", shape),
		inputs: []tensor.Shape{shape, shape, {kernel.Lanes}},
		output: tensor.ScalarShape(),
		compile: func(loss []float32, inputs ...[]float32) (Call, error) {
			var total float64
			return sum(func() { total = 0 }, func(inputs ...[]float32) func() {
				prediction, target, share := inputs[0], inputs[1], inputs[2]
				return func() {
					if images := occupied(share); images > 0 {
						total += float64(float64(share[0]) * kernel.CrossEntropy(prediction, target, images))
					}
				}
			}, func() { loss[0] = float32(total) }, inputs), nil
		},
		differentiable: []bool{true, false, false},
		gradient: func(inputs gorgonia.Nodes, _, dLoss *gorgonia.Node) (gorgonia.Nodes, error) {
			dPrediction, err := gorgonia.ApplyOp(crossEntropyGradient(shape), inputs[0], inputs[1], inputs[2], dLoss)
			return gorgonia.Nodes{dPrediction, nil, nil}, err
		},
	}, prediction, target, share)
}

// crossEntropyGradient computes the derivative by the prediction from (prediction, target, share, derivative by the
// cross-entropy, a scalar).
func crossEntropyGradient(shape tensor.Shape) *op {
	return &op{
		name:   fmt.Sprintf("gradient of cross-entropy of %v", shape),
		inputs: []tensor.Shape{shape, shape, {kernel.Lanes}, tensor.ScalarShape()},
		output: shape,
		compile: func(dPrediction []float32, inputs ...[]float32) (Call, error) {
			prediction, target, share, dLoss := inputs[0], inputs[1], inputs[2], inputs[3]
			return Call{Tile: func() {
				images := occupied(share)
				if images == 0 {
					clear(dPrediction)
					return
				}
				kernel.CrossEntropyBackward(dPrediction, prediction, target, images, share[0]*dLoss[0])
			}}, nil
		},
	}
}
