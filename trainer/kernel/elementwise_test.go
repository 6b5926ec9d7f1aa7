//go:build !race

package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestSigmoidAgreesWithDefinition(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		const steps = 1 << 16
		y := make([]float32, 2*steps)
		for i := range y {
			y[i] = float32(i-steps) / steps * 110
		}
		x := append([]float32(nil), y...)
		active.Load().sigmoid(y)
		worst := 0.0
		for i, got := range y {
			want := 1 / (1 + math.Exp(-float64(x[i])))
			if want < 0x1p-126 {
				// Subnormal, where the bits get fewer, or infinite before the division.
				if math.Abs(float64(got)-want) > 0x1p-126 {
					t.Fatalf("sigmoid(%g) = %g, want %g", x[i], got, want)
				}
				continue
			}
			worst = max(worst, math.Abs(float64(got)-want)/want)
		}
		if worst > 3*0x1p-23 {
			t.Errorf("the relative error is up to %g, want at most 3 * 2^-23", worst)
		}
	})
}

func TestSigmoidSpecialValues(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	onEachPath(t, func(t *testing.T) {
		for _, test := range []struct{ x, want float32 }{
			{0, 0.5},
			{float32(math.Copysign(0, -1)), 0.5},
			{inf, 1},
			{-inf, 0},
			{nan, nan},
			{1e30, 1},
			{-1e30, 0},
			{1e-45, 0.5},
		} {
			y := make([]float32, Lanes)
			y[3] = test.x
			active.Load().sigmoid(y)
			if !sameBits(y[3], test.want) {
				t.Errorf("sigmoid(%g) = %g, want %g", test.x, y[3], test.want)
			}
		}
	})
}

func TestReLUSpecialValues(t *testing.T) {
	inf, nan, minusZero := float32(math.Inf(1)), float32(math.NaN()), float32(math.Copysign(0, -1))
	onEachPath(t, func(t *testing.T) {
		conv, err := NewConv(Linear(1, 1))
		if err != nil {
			t.Fatal(err)
		}
		conv.SetWeights([]float32{1}, []float32{minusZero})
		for _, test := range []struct{ x, y, dx float32 }{
			{2, 2, 7},
			{-2, 0, 0},
			{0, 0, 0},
			{inf, inf, 7},
			{-inf, 0, 0},
			{nan, nan, 7},
			{1e-45, 1e-45, 7},
			{-1e-45, 0, 0},
		} {
			x, y, d := make([]float32, Lanes), make([]float32, Lanes), make([]float32, Lanes)
			x[5], d[5] = test.x, 7
			conv.Forward(y, x, ReLU)
			ReLUBackward(d, d, y)
			if !sameBits(y[5], test.y) || d[5] != test.dx {
				t.Errorf("x = %g: y = %g and dx = %g, want %g and %g", test.x, y[5], d[5], test.y, test.dx)
			}
		}
	})
}

func TestSquaredErrorCountsLanes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 4))
	const positions, scale = 37, 0.25
	onEachPath(t, func(t *testing.T) {
		for lanes := 1; lanes <= Lanes; lanes++ {
			y, target, dy := random(r, positions*Lanes), random(r, positions*Lanes), random(r, positions*Lanes)
			want := 0.0
			for i := range y {
				if i%Lanes >= lanes {
					// Whatever is in the lanes without an image must not matter.
					y[i] = float32(math.NaN())
					continue
				}
				difference := float64(y[i] - target[i])
				want += difference * difference
			}
			SquaredErrorBackward(dy, y, target, lanes, scale)
			got := SquaredError(y, target, lanes)
			if math.Abs(got-want) > 1e-12*want {
				t.Errorf("%d lanes: loss %g, want %g", lanes, got, want)
			}
			for i := range dy {
				gradient := float32(0)
				if i%Lanes < lanes {
					gradient = scale * (y[i] - target[i])
				}
				if dy[i] != gradient {
					t.Fatalf("%d lanes: dy[%d] = %g, want %g", lanes, i, dy[i], gradient)
				}
			}
		}
	})
}

// TestAdamAgreesWithDefinition follows PyTorch's documented algorithm in float64.
func TestAdamAgreesWithDefinition(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		const n, steps, rate, decay = 21, 50, 1e-2, 1e-2
		r := rand.New(rand.NewPCG(1, 5))
		w, m, v := random(r, n), make([]float32, n), make([]float32, n)
		exact, exactM, exactV := make([]float64, n), make([]float64, n), make([]float64, n)
		for i := range w {
			exact[i] = float64(w[i])
		}
		for step := 1; step <= steps; step++ {
			g := random(r, n)
			for i := range g {
				gradient := float64(g[i]) + decay*exact[i]
				exactM[i] = 0.9*exactM[i] + 0.1*gradient
				exactV[i] = 0.999*exactV[i] + 0.001*gradient*gradient
				mean := exactM[i] / (1 - math.Pow(0.9, float64(step)))
				square := exactV[i] / (1 - math.Pow(0.999, float64(step)))
				exact[i] -= rate * mean / (math.Sqrt(square) + 1e-8)
			}
			Adam(w, g, m, v, AdamStep{LearningRate: rate, WeightDecay: decay, Step: step})
		}
		for i := range w {
			if math.Abs(float64(w[i])-exact[i]) > 1e-5 {
				t.Errorf("w[%d] = %g, want %g", i, w[i], exact[i])
			}
		}
	})
}

func TestFillTileDividesExactly(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		const size = 256
		pixels := make([]byte, 3*size)
		for i := range pixels {
			pixels[i] = byte(i * (1 + i/size))
		}
		indices := []uint32{2, 0, 1, 1}
		tile := random(rand.New(rand.NewPCG(1, 6)), size*Lanes)
		FillTile(tile, pixels, size, indices)
		for i, got := range tile {
			want := float32(0)
			if lane := i % Lanes; lane < len(indices) {
				want = float32(pixels[int(indices[lane])*size+i/Lanes]) / 255
			}
			if got != want {
				t.Fatalf("pixel %d of lane %d is %g, want %g", i/Lanes, i%Lanes, got, want)
			}
		}
	})
}
