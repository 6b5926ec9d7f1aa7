//go:build !race

package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

// The tiles of large images are more than one call of assembly does, and nothing says that they end with a call.
func TestSameBitsLongTiles(t *testing.T) {
	comparePaths(t, func() outputs {
		r := rand.New(rand.NewPCG(1, 2))
		n := 70_000/Lanes*Lanes + 5*Lanes
		x, y, target := random(r, n), random(r, n), random(r, n)
		relu, sigmoid, sum, square := Values(n), Values(n), Values(n), Values(n)
		ReLUBackward(relu, x, y)
		SigmoidBackward(sigmoid, x, y)
		AddScaled(sum, x, y, 0.3)
		SquaredErrorBackward(square, x, target, 13, 0.5)
		ofSigmoid := Values(n)
		SigmoidSquaredErrorBackward(ofSigmoid, x, target, 13, 0.5)
		loss := math.Float64bits(SquaredError(x, target, 13))

		const size = 5003
		pixels := make([]byte, 3*size)
		for i := range pixels {
			pixels[i] = byte(r.Uint32())
		}
		tile := Values(size * Lanes)
		FillTile(tile, pixels, size, []uint32{2, 0, 1, 1})

		const rows, columns = 17, 9001
		transposed := Values(columns * rows)
		active.Load().transpose(transposed, random(r, rows*columns), rows, columns, rows)
		copied := Values(columns * block)
		active.Load().copyBlocks(copied, random(r, columns*rows), columns, rows)
		return outputs{
			"relu": relu, "sigmoid": sigmoid, "sum": sum, "square": square, "tile": tile, "transposed": transposed,
			"copied": copied, "of sigmoid": ofSigmoid,
			"loss": {math.Float32frombits(uint32(loss >> 32)), math.Float32frombits(uint32(loss))},
		}
	})
}

// A kernel of 1 x 1 may meet nothing but padding.
func TestSubnormalWeightsOnPadding(t *testing.T) {
	comparePaths(t, func() outputs {
		conv, err := NewConv(Shape{2, 1, 1, 3, 1, 1, 3, 1, 0, 0, false})
		if err != nil {
			t.Fatal(err)
		}
		w := make([]float32, 6)
		for i := range w {
			w[i] = 1e-40
		}
		conv.SetWeights(w, make([]float32, 3))
		x, y := Values(2*Lanes), Values(3*Lanes)
		for i := range x {
			x[i] = 1
		}
		conv.Forward(y, x, None)
		return outputs{"y": y}
	})
}
