package operation

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// WeightedSum is a + weight * b, of scalars that are sums over a batch.
func WeightedSum(a, b *gorgonia.Node, weight float64) (*gorgonia.Node, error) {
	return gorgonia.ApplyOp(&op{
		name:   fmt.Sprintf("sum with weight %x", weight),
		inputs: []tensor.Shape{tensor.ScalarShape(), tensor.ScalarShape()},
		output: tensor.ScalarShape(),
		compile: func(sum []float32, inputs ...[]float32) (Call, error) {
			a, b := inputs[0], inputs[1]
			return Call{End: func() {
				sum[0] = float32(float64(a[0]) + float64(weight*float64(b[0])))
			}}, nil
		},
		differentiable: []bool{true, true},
		gradient: func(_ gorgonia.Nodes, _, dSum *gorgonia.Node) (gorgonia.Nodes, error) {
			db, err := gorgonia.ApplyOp(&op{
				name:   fmt.Sprintf("gradient of sum with weight %x", weight),
				inputs: []tensor.Shape{tensor.ScalarShape()},
				output: tensor.ScalarShape(),
				compile: func(db []float32, inputs ...[]float32) (Call, error) {
					return Call{Tile: func() { db[0] = float32(weight) * inputs[0][0] }}, nil
				},
			}, dSum)
			return gorgonia.Nodes{dSum, db}, err
		},
	}, a, b)
}
