package operation

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"trellis/trainer/kernel"
)

// Sample draws from normal distributions so that it can be differentiated by their parameters (paper, equation 2):
//
//	z = mean + exp(logVariance / 2) * draw
//
// All have one shape, lanes last; draws are standard normal numbers. A draw of exactly zero stands for a lane without
// an image: there z is the mean, whatever the variance.
func Sample(mean, logVariance, draws *gorgonia.Node) (*gorgonia.Node, error) {
	return gorgonia.ApplyOp(sample(mean.Shape()), mean, logVariance, draws)
}

func sample(shape tensor.Shape) *op {
	return &op{
		name:   fmt.Sprintf("sample of %v", shape),
		inputs: []tensor.Shape{shape, shape, shape},
		output: shape,
		compile: func(z []float32, inputs ...[]float32) (Call, error) {
			mean, logVariance, draws := inputs[0], inputs[1], inputs[2]
			return Call{Tile: func() {
				for i, draw := range draws {
					z[i] = mean[i]
					if draw != 0 {
						z[i] += float32(kernel.Exp(logVariance[i]/2) * draw)
					}
				}
			}}, nil
		},
		differentiable: []bool{true, true, false},
		gradient: func(inputs gorgonia.Nodes, _, dz *gorgonia.Node) (gorgonia.Nodes, error) {
			dLogVariance, err := gorgonia.ApplyOp(sampleGradient(shape), inputs[1], inputs[2], dz)
			return gorgonia.Nodes{dz, dLogVariance, nil}, err
		},
	}
}

// sampleGradient computes the loss's derivative by the logarithm of the variance from (logVariance, draws, its
// derivative by z).
func sampleGradient(shape tensor.Shape) *op {
	return &op{
		name:   fmt.Sprintf("gradient of sample of %v by variance", shape),
		inputs: []tensor.Shape{shape, shape, shape},
		output: shape,
		compile: func(dLogVariance []float32, inputs ...[]float32) (Call, error) {
			logVariance, draws, dz := inputs[0], inputs[1], inputs[2]
			return Call{Tile: func() {
				for i, draw := range draws {
					dLogVariance[i] = 0
					if draw != 0 {
						dLogVariance[i] = dz[i] * (kernel.Exp(logVariance[i]/2) * draw) / 2
					}
				}
			}}, nil
		},
	}
}
