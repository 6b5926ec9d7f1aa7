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
			x := inputs[0]
			return Call{Tile: func() {
				for lane := range kernel.Lanes {
					// The largest score is subtracted first, so that no exponential overflows. A NaN passes: no
					// comparison with it holds, and the sum has it.
					largest := x[lane]
					for i := lane; i < len(x); i += kernel.Lanes {
						if x[i] > largest {
							largest = x[i]
						}
					}
					var sum float64
					for i := lane; i < len(x); i += kernel.Lanes {
						sum += float64(kernel.Exp(x[i] - largest))
					}
					logarithm := kernel.Log(sum)
					for i := lane; i < len(x); i += kernel.Lanes {
						y[i] = float32(float64(x[i]-largest) - logarithm)
					}
				}
			}}, nil
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
			return Call{Tile: func() {
				for lane := range kernel.Lanes {
					var sum float32
					for i := lane; i < len(dy); i += kernel.Lanes {
						sum += dy[i]
					}
					for i := lane; i < len(dy); i += kernel.Lanes {
						dx[i] = 0
						if sum != 0 { // It is zero in a lane without an image, where y may be anything.
							dx[i] = dy[i] - float32(kernel.Exp(y[i])*sum)
						}
					}
				}
			}}, nil
		},
	}
}
