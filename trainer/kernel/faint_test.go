//go:build !race

package kernel

import (
	"math"
	"math/rand/v2"
	"testing"

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
			InWidth: side.Draw(t, "width"), OutChannels: rapid.SampledFrom([]int{1, 3, 5, 6}).Draw(t, "out"),
			KernelHeight: kernel.Draw(t, "rows"), KernelWidth: kernel.Draw(t, "columns"),
			Stride: rapid.IntRange(1, 2).Draw(t, "stride"), Transposed: true,
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

// Faint gradients are found in each tile of a series, after others sooner or later, and where they are.
func TestFaintGradientsAreFound(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		if Path() == "portable" {
			return
		}
		s := Shape{8, 14, 14, 1, 3, 3, 2, 1, 1, 1, true}
		conv, err := NewConv(s)
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(1, 2))
		conv.SetWeights(random(r, s.Weights()), nil)
		x, dx := random(r, s.InSize()), make([]float32, s.InSize())
		usual, faint := random(r, s.OutSize()), random(r, s.OutSize())
		faint[(14*28+14)*Lanes+Lanes-1] = 1e-40 // A pixel that a single position inside meets.
		positions := conv.backward.classes[3].positions
		looked := func(dy []float32) bool {
			f := conv.scratch.faint
			f.usual = f.usual[:len(positions)]
			conv.BackwardInput(dx, dy)
			conv.BackwardWeights(dy, x)
			gather := len(f.usual) < len(positions)
			if gather && len(f.usual) != len(positions)-Lanes/active.Load().vector {
				t.Fatalf("%d vectors of %d meet no faint gradients", len(f.usual), len(positions))
			}
			if weights := conv.weights.faint; (weights.pause == 0) != gather {
				t.Fatalf("the gradient of weights paused for %d tiles", weights.pause)
			}
			return gather
		}
		for range 20 {
			if !looked(faint) {
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
		if !looked(faint) {
			t.Fatal("faint gradients were overlooked for too long")
		}
	})
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
