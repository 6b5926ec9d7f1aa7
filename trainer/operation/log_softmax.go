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
			return Call{Tile: func() {
				// The largest score is subtracted first, so that no exponential overflows. A NaN passes: no comparison
				// with it holds, and the sum has it.
				largest := [kernel.Lanes]float32(x)
				for i := kernel.Lanes; i < len(x); i += kernel.Lanes {
					for lane, value := range (*[kernel.Lanes]float32)(x[i:]) {
						if value > largest[lane] {
							largest[lane] = value
						}
					}
				}
				for i := 0; i < len(x); i += kernel.Lanes {
					to := (*[kernel.Lanes]float32)(y[i:])
					for lane, value := range (*[kernel.Lanes]float32)(x[i:]) {
						to[lane] = value - largest[lane]
					}
				}
				kernel.ExpTile(exponentials, y)
				var sums [kernel.Lanes]float64
				for i := 0; i < len(x); i += kernel.Lanes {
					for lane, value := range (*[kernel.Lanes]float32)(exponentials[i:]) {
						sums[lane] += float64(value)
					}
				}
				for lane, sum := range sums {
					sums[lane] = kernel.Log(sum)
				}
				for i := 0; i < len(x); i += kernel.Lanes {
					values := (*[kernel.Lanes]float32)(y[i:])
					for lane, logarithm := range &sums {
						values[lane] = float32(float64(values[lane]) - logarithm)
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
				var sums [kernel.Lanes]float32
				for i := 0; i < len(dy); i += kernel.Lanes {
					for lane, value := range (*[kernel.Lanes]float32)(dy[i:]) {
						sums[lane] += value
					}
				}
				kernel.ExpTile(dx, y)
				for i := 0; i < len(dy); i += kernel.Lanes {
					to, from := (*[kernel.Lanes]float32)(dx[i:]), (*[kernel.Lanes]float32)(dy[i:])
					for lane, sum := range &sums {
						if sum == 0 { // In a lane without an image, where y may be anything.
							to[lane] = 0
							continue
						}
						to[lane] = from[lane] - float32(to[lane]*sum)
					}
				}
			}}, nil
		},
	}
}
