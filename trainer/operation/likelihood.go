package operation

import (
	"fmt"
	"math"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"trellis/trainer/kernel"
)

// NegativeLogLikelihood is the scalar
//
//	sum over a batch's tiles and lanes: -share[lane] logProbabilities[label[lane]][lane]
//
// LogProbabilities are (class, lane), labels are (lane), whole numbers from 0 to the last class, and share is as
// SquaredError's. It can be differentiated by the first.
func NegativeLogLikelihood(logProbabilities, labels, share *gorgonia.Node) (*gorgonia.Node, error) {
	return gorgonia.ApplyOp(likelihood(logProbabilities.Shape()), logProbabilities, labels, share)
}

func likelihood(shape tensor.Shape) *op {
	return &op{
		name:   fmt.Sprintf("negative log-likelihood of %v", shape),
		inputs: []tensor.Shape{shape, {kernel.Lanes}, {kernel.Lanes}},
		output: tensor.ScalarShape(),
		compile: func(loss []float32, inputs ...[]float32) (Call, error) {
			var total float64
			return sum(func() { total = 0 }, func(inputs ...[]float32) func() {
				logProbabilities, labels, share := inputs[0], inputs[1], inputs[2]
				return func() {
					sum := total
					for lane, label := range labels[:occupied(share)] {
						value := logProbabilities[int(label)*kernel.Lanes+lane]
						sum -= float64(float64(share[lane]) * float64(value))
					}
					total = sum
				}
			}, func() { loss[0] = float32(total) }, inputs), nil
		},
		differentiable: []bool{true, false, false},
		gradient: func(inputs gorgonia.Nodes, _, dLoss *gorgonia.Node) (gorgonia.Nodes, error) {
			gradient, err := gorgonia.ApplyOp(likelihoodGradient(shape), inputs[1], inputs[2], dLoss)
			return gorgonia.Nodes{gradient, nil, nil}, err
		},
	}
}

// likelihoodGradient computes the derivative by the logarithms of probabilities from (labels, share, derivative by the
// negative log-likelihood, a scalar).
func likelihoodGradient(shape tensor.Shape) *op {
	return &op{
		name:   fmt.Sprintf("gradient of negative log-likelihood of %v", shape),
		inputs: []tensor.Shape{{kernel.Lanes}, {kernel.Lanes}, tensor.ScalarShape()},
		output: shape,
		compile: func(gradient []float32, inputs ...[]float32) (Call, error) {
			labels, share, dLoss := inputs[0], inputs[1], inputs[2]
			return Call{Tile: func() {
				clear(gradient)
				dLoss := dLoss[0]
				for lane, label := range labels[:occupied(share)] {
					gradient[int(label)*kernel.Lanes+lane] = -share[lane] * dLoss
				}
			}}, nil
		},
	}
}

// Accuracy is the fraction of a batch's images whose label is the most probable class, the first of these if there are
// several. Its inputs are NegativeLogLikelihood's, of which the share only says which lanes have an image. It can't be
// differentiated.
func Accuracy(logProbabilities, labels, share *gorgonia.Node) (*gorgonia.Node, error) {
	shape := logProbabilities.Shape()
	return gorgonia.ApplyOp(&op{
		name:   fmt.Sprintf("accuracy of %v", shape),
		inputs: []tensor.Shape{shape, {kernel.Lanes}, {kernel.Lanes}},
		output: tensor.ScalarShape(),
		compile: func(accuracy []float32, inputs ...[]float32) (Call, error) {
			var right, images int
			return sum(func() { right, images = 0, 0 }, func(inputs ...[]float32) func() {
				logProbabilities, labels, share := inputs[0], inputs[1], inputs[2]
				var classes [kernel.Lanes]float32
				return func() {
					kernel.MostProbable(&classes, logProbabilities)
					count := occupied(share)
					wrong := 0
					for lane, label := range labels[:count] {
						// A branch would be guessed wrong for many images. Whole numbers have one notation.
						different := math.Float32bits(label) ^ math.Float32bits(classes[lane])
						wrong += int((different | -different) >> 31)
					}
					images, right = images+count, right+count-wrong
				}
			}, func() { accuracy[0] = float32(float64(right) / float64(max(images, 1))) }, inputs), nil
		},
	}, logProbabilities, labels, share)
}
