//go:build !race

package kernel

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func TestSameBitsClasses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		classes, seed := rapid.IntRange(1, 20).Draw(t, "classes"), rapid.Uint64().Draw(t, "seed")
		kind := rapid.SampledFrom(kinds).Draw(t, "values")
		scale := float32(math.Pow(10, float64(rapid.IntRange(-3, 30).Draw(t, "scale"))))
		comparePaths(t, func() outputs {
			r := rand.New(rand.NewPCG(seed, 1))
			x, dy := valuesOf(kind, r, classes*Lanes), valuesOf(kind, r, classes*Lanes)
			y, exponentials, dx := make([]float32, len(x)), make([]float32, len(x)), make([]float32, len(x))
			for i := range x {
				x[i] *= scale
			}
			for lane := range r.IntN(Lanes) {
				for i := lane; i < len(dy); i += Lanes {
					dy[i] = 0 // As in lanes without an image.
				}
			}
			LogSoftmax(y, x, exponentials)
			LogSoftmaxBackward(dx, dy, y)
			var which [Lanes]float32
			MostProbable(&which, x)
			// Sums of any size have the same logarithms.
			positive := make([]float32, len(x))
			for i, value := range valuesOf(kind, r, len(x)) {
				positive[i] = float32(math.Abs(float64(value * scale)))
			}
			logarithms := random(r, len(x))
			active.Load().subtractLogarithm(logarithms, positive)
			return outputs{"y": y, "dx": dx, "classes": which[:], "logarithms": logarithms}
		})
	})
}

func TestLogSoftmaxIsLog(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		for _, sum := range []float32{1, 1.0000001, 1.4142135, 1.4142137, 2, 10, 1 << 20, 1e38} {
			exponentials, y := make([]float32, Lanes), make([]float32, Lanes)
			for lane := range exponentials {
				exponentials[lane] = sum + float32(lane)
			}
			active.Load().subtractLogarithm(y, exponentials)
			for lane := range y {
				if want := float32(-Log(float64(sum + float32(lane)))); y[lane] != want {
					t.Errorf("lane %d: 0 - log(%v) is %v, want %v", lane, sum+float32(lane), y[lane], want)
				}
			}
		}
	})
}

func TestMostProbableIsTheFirstOfTheLargest(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		nan := float32(math.NaN())
		for want, scores := range map[float32][]float32{
			0: {nan, 1, 2}, 1: {1, 3, 3}, 2: {1, nan, 2, nan}, 3: {-4, -3, -2, -1},
		} {
			x := make([]float32, len(scores)*Lanes)
			for class, score := range scores {
				x[class*Lanes+5] = score
			}
			var classes [Lanes]float32
			if MostProbable(&classes, x); classes[5] != want || classes[4] != 0 {
				t.Errorf("of %v class %v is the most probable, want %v", scores, classes[5], want)
			}
		}
	})
}

func TestFillRows(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		for _, size := range []int{1, 7, 8, 16, 40} {
			for _, lanes := range []int{0, 1, 15, 16} {
				values, indices := random(r, 50*size), make([]uint32, lanes)
				for lane := range indices {
					indices[lane] = r.Uint32N(50)
				}
				tile := random(r, size*Lanes)
				FillRows(tile, values, size, indices)
				for i, got := range tile {
					want := float32(0)
					if lane := i % Lanes; lane < lanes {
						want = values[int(indices[lane])*size+i/Lanes]
					}
					if got != want {
						t.Fatalf("size %d, %d rows: value %d is %v, want %v", size, lanes, i, got, want)
					}
				}
			}
		}
	})
}
