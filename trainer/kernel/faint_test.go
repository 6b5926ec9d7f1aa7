//go:build !race

package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// faintGradients are gradients as of images with a margin: from ordinary ones to zeros, with neighbors alike.
func faintGradients(r *rand.Rand, n int) []float32 {
	values := random(r, n)
	exponent := 0
	for i := range values {
		if r.IntN(8) == 0 {
			exponent = r.IntN(160)
		}
		values[i] = float32(float64(values[i]) * math.Pow(2, -float64(exponent+r.IntN(4))))
	}
	return values
}

// shrink makes values so small that they can't be scaled without rounding.
func shrink(values []float32) {
	for i := range values {
		values[i] *= 0x1p-110
	}
}

// Faint gradients are kept away from multiply-adds on the way back through transposed convolutions, to images and to
// what has more channels. All paths give the same bits.
func TestFaintGradientsKeepBits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		side, kernel := rapid.SampledFrom([]int{1, 3, 6, 7}), rapid.IntRange(1, 4)
		s := Shape{
			InChannels: rapid.IntRange(1, 10).Draw(t, "in"), InHeight: side.Draw(t, "height"),
			InWidth: side.Draw(t, "width"), OutChannels: rapid.IntRange(1, 6).Draw(t, "out"),
			KernelHeight: kernel.Draw(t, "rows"), KernelWidth: kernel.Draw(t, "columns"),
			Stride: rapid.IntRange(1, 3).Draw(t, "stride"), Padding: rapid.IntRange(0, 2).Draw(t, "padding"),
			Transposed: true,
		}
		if s.OutHeight() < 1 || s.OutWidth() < 1 {
			t.Skip("nothing is left")
		}
		seed := rapid.Uint64().Draw(t, "seed")
		comparePaths(t, func() outputs {
			r := rand.New(rand.NewPCG(seed, 1))
			conv, err := NewConv(s)
			if err != nil {
				t.Fatal(err)
			}
			w := random(r, s.Weights())
			// Sums of whole numbers of the least one, so that what is left of a sum may be subnormal.
			cancel, small := r.IntN(4) == 0, r.IntN(4) == 0
			switch {
			case cancel:
				for i := range w {
					w[i] = float32(r.IntN(3) - 1)
				}
			case r.IntN(4) == 0:
				special(r, w)
			case r.IntN(4) == 0:
				shrink(w)
			}
			conv.SetWeights(w, nil)
			all := outputs{}
			for _, tile := range []string{"first", "second", "third"} {
				x, dy := inputsOf(r, s.InSize()), faintGradients(r, s.OutSize())
				for i := range dy {
					if cancel {
						dy[i] = float32(r.IntN(1<<25)) * math.SmallestNonzeroFloat32
					}
				}
				if r.IntN(4) == 0 {
					special(r, dy)
				}
				if small {
					shrink(x)
				}
				dx, masked := random(r, s.InSize()), random(r, s.InSize())
				conv.BackwardInput(dx, dy)
				conv.BackwardWeights(dy, x)
				rectified(r, x)
				conv.BackwardInputOfReLU(masked, dy, x)
				all["dx "+tile], all["dx of ReLU "+tile] = dx, masked
			}
			dw, db := make([]float32, s.Weights()), make([]float32, s.OutChannels)
			conv.Gradient(dw, db)
			all["dw"], all["db"] = dw, db
			return all
		})
	})
}

// faintLayer is the autoencoder's last, ready for the way back.
func faintLayer(t testing.TB) (*Conv, *rand.Rand) {
	s := Shape{8, 14, 14, 1, 3, 3, 2, 1, 1, 1, true}
	conv, err := NewConv(s)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	w := random(r, s.Weights())
	for i := range w {
		w[i] /= 6 // As in a new network.
	}
	conv.SetWeights(w, nil)
	return conv, r
}

// Faint gradients are found in each tile of a series, after others sooner or later, and where sums begin with them.
func TestFaintGradientsAreFound(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		if Path() == "portable" {
			return
		}
		conv, r := faintLayer(t)
		x, dx := random(r, conv.in), make([]float32, conv.in)
		usual, faint, middle := random(r, conv.out), random(r, conv.out), random(r, conv.out)
		for column := range 28 {
			faint[(13*28+column)*Lanes+9] = 1e-40  // The first row that positions of one row inside meet.
			middle[(14*28+column)*Lanes+9] = 1e-40 // The second.
		}
		f := conv.scratch.faint
		looked := func(dy []float32) bool {
			f.exact, f.inexact = 0, 0
			conv.BackwardInput(dx, dy)
			conv.BackwardWeights(dy, x)
			gather := f.exact > 0
			if gather && f.exact != 14 || f.inexact > 0 {
				t.Fatalf("%d positions were computed by themselves, %d in vain", f.exact, f.inexact)
			}
			return gather
		}
		for range 20 {
			if !looked(faint) || conv.weights.faint.pause > 0 {
				t.Fatal("faint gradients were overlooked")
			}
		}
		for range 200 {
			if looked(usual) {
				t.Fatal("faint gradients were found where there are none")
			}
		}
		for range faintPause {
			looked(faint)
		}
		if !looked(faint) || conv.weights.faint.pause > 0 {
			t.Fatal("faint gradients were overlooked for too long")
		}
		for range 20 {
			if looked(middle) {
				t.Fatal("positions were computed by themselves whose sums begin with usual gradients")
			}
		}
		if f.pause == 0 || conv.weights.faint.pause > 0 {
			t.Fatal("few faint gradients are looked for in each tile, or none in the gradient of weights")
		}
	})
}

// Where positions that are computed by themselves turn out inexact, tiles are looked at less and less often.
func TestInexactFaintGradientsAreLeft(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		if Path() == "portable" {
			return
		}
		conv, r := faintLayer(t)
		w := random(r, conv.shape.Weights())
		for i := range w {
			w[i] = float32(math.Inf(1))
		}
		conv.SetWeights(w, nil)
		dy, dx := random(r, conv.out), make([]float32, conv.in)
		for i := range dy {
			dy[i] *= 0x1p-125
		}
		f, tiles := conv.scratch.faint, 0
		for range 200 {
			f.exact, f.inexact = 0, 0
			if conv.BackwardInput(dx, dy); f.exact+f.inexact > 0 {
				tiles++
			}
		}
		if tiles == 0 || tiles > 12 {
			t.Fatalf("positions of %d tiles of 200 were computed by themselves in vain", tiles)
		}
	})
}

// BenchmarkFaint has the way back through the autoencoder's last layer for gradients that are faint here and there. It
// reports the time of a tile, and how many times as long that is as without looking for faint gradients: of the
// fastest iteration, which has as many tiles as may not be looked at.
func BenchmarkFaint(b *testing.B) {
	for _, gradients := range []struct {
		name string
		// exponent is that of the factor of a gradient, for a pixel and what was drawn for a value.
		exponent func(row, column, drawn int) int
	}{
		{"none", func(_, _, _ int) int { return 0 }},
		{"few", func(_, _, drawn int) int { return -121 * (drawn % 100 / 99) }},
		{"some", func(_, _, drawn int) int { return -121 * (drawn % 10 / 9) }},
		{"few subnormal", func(_, _, drawn int) int { return -135 * (drawn % 100 / 99) }},
		{"margins", func(row, column, drawn int) int {
			depth := max(0, 5-min(row, column, 27-row, 27-column))
			return -min(depth, 1)*(95+9*depth) - drawn%4
		}},
		{"all", func(row, column, drawn int) int { return -121 - (row+column)/3 - drawn%4 }},
	} {
		for _, pass := range []string{"backward-input", "backward-weights"} {
			b.Run(gradients.name+"/"+pass, func(b *testing.B) {
				onFastPaths(b, func(b *testing.B) {
					var looking, plain *Conv
					var r *rand.Rand
					withSubnormals(true, func() { looking, r = faintLayer(b) })
					withSubnormals(false, func() { plain, _ = faintLayer(b) })
					x, dy, dx := random(r, plain.in), random(r, plain.out), make([]float32, plain.in)
					for i := range dy {
						pixel := i / Lanes
						dy[i] *= float32(math.Pow(2, float64(gradients.exponent(pixel/28, pixel%28, r.IntN(1000)))))
					}
					const tiles = faintPause + 1
					best := map[*Conv]time.Duration{looking: math.MaxInt64, plain: math.MaxInt64}
					for b.Loop() {
						for _, conv := range []*Conv{looking, plain} {
							start := time.Now()
							for range tiles {
								if pass == "backward-input" {
									conv.BackwardInput(dx, dy)
								} else {
									conv.BackwardWeights(dy, x)
								}
							}
							best[conv] = min(best[conv], time.Since(start))
						}
					}
					b.ReportMetric(best[looking].Seconds()*1e6/tiles, "us")
					b.ReportMetric(best[looking].Seconds()/best[plain].Seconds(), "times-plain")
				})
			})
		}
	}
}

// Gradients of a sigmoid under a squared error have the same bits where they are subnormal, or nearly.
func TestFaintSigmoidGradientsKeepBits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		comparePaths(t, func() outputs {
			r := rand.New(rand.NewPCG(seed, 1))
			dx, y, target := make([]float32, 40*Lanes), faintGradients(r, 40*Lanes), make([]float32, 40*Lanes)
			for i := range target {
				if r.IntN(2) == 0 {
					target[i] = y[i] * r.Float32()
				}
			}
			scale := float32(math.Pow(2, float64(20-r.IntN(140))))
			SigmoidSquaredErrorBackward(dx, y, target, 1+r.IntN(Lanes), scale)
			return outputs{"dx": dx}
		})
	})
}
