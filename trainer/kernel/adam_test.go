//go:build !race

package kernel

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// Weights without gradients become subnormal, and their moments before them. Each path takes them through the same
// bits.
func TestSameBitsAdamOfTinyWeights(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		comparePaths(t, func() outputs {
			r := rand.New(rand.NewPCG(seed, 1))
			n := 1 + r.IntN(40)
			w, g, m, v := random(r, n), make([]float32, n), random(r, n), make([]float32, n)
			spread := 1 + r.IntN(150)
			shrink := func(x float32, least int) float32 {
				return x * float32(math.Pow(2, -float64(least))) * float32(math.Pow(2, -float64(r.IntN(spread))))
			}
			for i := range w {
				w[i] = shrink(w[i], r.IntN(2)*(150-spread))
				m[i] = shrink(m[i], r.IntN(2)*(150-spread))
				switch r.IntN(4) {
				case 0:
					m[i] = float32(math.Copysign(0, float64(m[i])))
				case 1:
					v[i] = float32(math.Abs(float64(shrink(w[i], 0))))
				case 2:
					v[i] = 1e-20 * r.Float32()
				}
				switch r.IntN(8) {
				case 0:
					g[i] = shrink(1, 0)
				case 1:
					g[i] = float32(math.Copysign(0, -1))
				}
			}
			if r.IntN(8) == 0 {
				special(r, w)
				special(r, m)
			}
			decay, rate := 1e-5, 1e-3
			if r.IntN(2) == 0 {
				decay, rate = math.Pow(10, -8*r.Float64()), math.Pow(10, -6*r.Float64())
			}
			if r.IntN(8) == 0 {
				decay = 0
			}
			for step := range 20 {
				Adam(w, g, m, v, AdamStep{LearningRate: rate, WeightDecay: decay, Step: 1 + step*r.IntN(1000)})
			}
			return outputs{"w": w, "m": m, "v": v}
		})
	})
}

// From ordinary numbers down to where nothing changes any more.
func TestSameBitsAdamWithoutGradients(t *testing.T) {
	comparePaths(t, func() outputs {
		r := rand.New(rand.NewPCG(1, 2))
		w, g, m, v := random(r, 64), make([]float32, 64), random(r, 64), random(r, 64)
		for i := range w {
			w[i], m[i], v[i] = 0.1*w[i], 1e-3*m[i], 1e-6*v[i]*v[i]
		}
		for step := range 20_000 {
			Adam(w, g, m, v, AdamStep{LearningRate: 1e-3, WeightDecay: 1e-5, Step: step + 1})
		}
		subnormal := 0
		for _, weight := range w {
			if weight != 0 && math.Abs(float64(weight)) < 0x1p-126 {
				subnormal++
			}
		}
		if subnormal < len(w)/2 {
			t.Fatalf("%d of %d weights are subnormal: this tests nothing", subnormal, len(w))
		}
		return outputs{"w": w, "m": m, "v": v}
	})
}
