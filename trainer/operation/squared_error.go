package operation

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"trellis/trainer/kernel"
)

// SquaredError is the scalar
//
//	sum over a batch's tiles, lanes and values: share[lane] (prediction - target)^2
//
// Prediction and target have the same shape, lanes last. Share is (lane): the weight of each lane's image, the same for
// the tile's images, which occupy its first lanes, and zero for lanes without one. With 1 / (images x values per image)
// the sum is the mean. It can be differentiated by the prediction.
func SquaredError(prediction, target, share *gorgonia.Node) (*gorgonia.Node, error) {
	return gorgonia.ApplyOp(squaredError(prediction.Shape()), prediction, target, share)
}

func squaredError(shape tensor.Shape) *op {
	return &op{
		name:   fmt.Sprintf("squared error of %v", shape),
		inputs: []tensor.Shape{shape, shape, {kernel.Lanes}},
		output: tensor.ScalarShape(),
		compile: func(loss []float32, inputs ...[]float32) (Call, error) {
			var total float64
			return sum(func() { total = 0 }, func(inputs ...[]float32) func() {
				prediction, target, share := inputs[0], inputs[1], inputs[2]
				return func() {
					if images := occupied(share); images > 0 {
						squares := kernel.SquaredError(prediction, target, images)
						total += float64(float64(share[0]) * squares)
					}
				}
			}, func() { loss[0] = float32(total) }, inputs), nil
		},
		differentiable: []bool{true, false, false},
		gradient: func(inputs gorgonia.Nodes, _, dLoss *gorgonia.Node) (gorgonia.Nodes, error) {
			dPrediction, err := gorgonia.ApplyOp(squaredErrorGradient(shape), inputs[0], inputs[1], inputs[2], dLoss)
			return gorgonia.Nodes{dPrediction, nil, nil}, err
		},
	}
}

// squaredErrorGradient computes the derivative by the prediction from (prediction, target, share, derivative by the
// squared error, a scalar).
func squaredErrorGradient(shape tensor.Shape) *op {
	o := squaredErrorGradientBy("prediction", shape, kernel.SquaredErrorBackward)
	o.bySigmoid = func() *op {
		return squaredErrorGradientBy("input of the sigmoid of the prediction", shape,
			kernel.SigmoidSquaredErrorBackward)
	}
	return o
}

func squaredErrorGradientBy(
	by string, shape tensor.Shape, backward func(dy, y, target []float32, lanes int, scale float32),
) *op {
	return &op{
		name:   fmt.Sprintf("gradient of squared error of %v by %s", shape, by),
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
				backward(dPrediction, prediction, target, images, 2*share[0]*dLoss[0])
			}}, nil
		},
	}
}

// occupied is the number of lanes with an image, which come first.
func occupied(share []float32) int {
	images := len(share)
	for images > 0 && share[images-1] == 0 {
		images--
	}
	return images
}
