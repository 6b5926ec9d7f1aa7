package operation

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"trellis/trainer/kernel"
)

// Divergence is the Kullback-Leibler divergence of normal distributions from the standard one, a scalar:
//
//	sum over a batch's tiles, lanes and values: share[lane] (mean^2 + exp(logVariance) - logVariance - 1) / 2
//
// Mean and logVariance have one shape, lanes last; share is as SquaredError's. It can be differentiated by both.
// Source: Kingma and Welling, "Auto-Encoding Variational Bayes", 2013, appendix B.
func Divergence(mean, logVariance, share *gorgonia.Node) (*gorgonia.Node, error) {
	return gorgonia.ApplyOp(divergence(mean.Shape()), mean, logVariance, share)
}

func divergence(shape tensor.Shape) *op {
	return &op{
		name:   fmt.Sprintf("divergence of %v", shape),
		inputs: []tensor.Shape{shape, shape, {kernel.Lanes}},
		output: tensor.ScalarShape(),
		compile: func(loss []float32, inputs ...[]float32) (Call, error) {
			var total float64
			return sum(func() { total = 0 }, func(inputs ...[]float32) func() {
				mean, logVariance, share := inputs[0], inputs[1], inputs[2]
				return func() {
					images, tile := occupied(share), 0.0
					for i, m := range mean {
						if i%kernel.Lanes >= images {
							continue
						}
						m, v := float64(m), float64(logVariance[i])
						tile += float64(m*m) + float64(kernel.Exp(logVariance[i])) - v - 1
					}
					total += float64(float64(share[0]) * tile / 2)
				}
			}, func() { loss[0] = float32(total) }, inputs), nil
		},
		differentiable: []bool{true, true, false},
		gradient: func(inputs gorgonia.Nodes, _, dLoss *gorgonia.Node) (gorgonia.Nodes, error) {
			dMean, err := gorgonia.ApplyOp(divergenceGradient(shape, "mean", func(mean float32) float32 {
				return mean
			}), inputs[0], inputs[2], dLoss)
			if err != nil {
				return nil, err
			}
			dLogVariance, err := gorgonia.ApplyOp(divergenceGradient(shape, "variance",
				func(logVariance float32) float32 {
					return (kernel.Exp(logVariance) - 1) / 2
				}), inputs[1], inputs[2], dLoss)
			return gorgonia.Nodes{dMean, dLogVariance, nil}, err
		},
	}
}

// divergenceGradient computes the derivative by one of the parameters from (parameter, share, derivative by the
// divergence, a scalar), given what the derivative of one value is.
func divergenceGradient(shape tensor.Shape, by string, slope func(float32) float32) *op {
	return &op{
		name:   fmt.Sprintf("gradient of divergence of %v by %s", shape, by),
		inputs: []tensor.Shape{shape, {kernel.Lanes}, tensor.ScalarShape()},
		output: shape,
		compile: func(gradient []float32, inputs ...[]float32) (Call, error) {
			parameter, share, dLoss := inputs[0], inputs[1], inputs[2]
			return Call{Tile: func() {
				images := occupied(share)
				for i, value := range parameter {
					gradient[i] = 0
					if i%kernel.Lanes < images {
						gradient[i] = slope(value) * (share[0] * dLoss[0])
					}
				}
			}}, nil
		},
	}
}
