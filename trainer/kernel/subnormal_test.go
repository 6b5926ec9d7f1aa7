package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// Weights of units that have no gradient for long become subnormal: whole rows and columns of them beside ordinary
// ones. All paths give the same bits, whatever the inputs are and wherever they are zero.
func TestSubnormalWeightsKeepBits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Linear(rapid.IntRange(1, 40).Draw(t, "in"), rapid.IntRange(1, 40).Draw(t, "out"))
		seed := rapid.Uint64().Draw(t, "seed")
		comparePaths(t, func() outputs {
			r := rand.New(rand.NewPCG(seed, 1))
			conv, err := NewConv(s)
			if err != nil {
				t.Fatal(err)
			}
			all := outputs{}
			// The second weights have none, and the third others.
			for _, name := range []string{"first", "second", "third"} {
				w, bias := random(r, s.Weights()), random(r, s.OutChannels)
				if name != "second" {
					shrinkUnits(r, s, w, bias)
				}
				conv.SetWeights(w, bias)
				for tile := range 3 {
					x, dy := inputsOf(r, s.InSize()), inputsOf(r, s.OutSize())
					y, dx, masked := random(r, s.OutSize()), random(r, s.InSize()), random(r, s.InSize())
					conv.Forward(y, x, Activation(r.IntN(2)))
					conv.BackwardInput(dx, dy)
					rectified(r, x)
					conv.BackwardInputOfReLU(masked, dy, x)
					ReLUBackward(masked, masked, x)
					want := make([]float32, len(dx))
					ReLUBackward(want, dx, x)
					compareOutputs(t, Path(), outputs{"dx of ReLU": masked}, outputs{"dx of ReLU": want})
					key := name + string(rune('0'+tile))
					all["y "+key], all["dx "+key] = y, dx
				}
			}
			return all
		})
	})
}

// shrinkUnits makes the weights of some outputs, and of some inputs, subnormal or nearly so.
func shrinkUnits(r *rand.Rand, s Shape, w, bias []float32) {
	for range r.IntN(6) {
		out, in := r.IntN(s.OutChannels), r.IntN(s.InChannels)
		bias[out] *= float32(math.Pow(2, -float64(r.IntN(150))))
		for i := range s.InChannels {
			w[out*s.InChannels+i] *= float32(math.Pow(2, -float64(100+r.IntN(50))))
		}
		for o := range s.OutChannels {
			w[o*s.InChannels+in] *= float32(math.Pow(2, -float64(100+r.IntN(50))))
		}
	}
	if r.IntN(5) == 0 {
		special(r, w)
	}
}

// inputsOf returns inputs of ordinary size, which may be special ones, or tiny ones among them.
func inputsOf(r *rand.Rand, n int) []float32 {
	x := random(r, n)
	switch r.IntN(4) {
	case 0:
		special(r, x)
	case 1:
		for i := range x {
			x[i] *= float32(math.Pow(2, -float64(r.IntN(140))))
		}
	}
	return x
}

// rectified makes some channels of a tile zero, but for what is not a number, and the negative values of the others.
func rectified(r *rand.Rand, x []float32) {
	for at := 0; at < len(x); at += Lanes {
		if r.IntN(2) == 0 {
			clear(x[at : at+Lanes])
			if r.IntN(4) == 0 {
				x[at+r.IntN(Lanes)] = float32(math.NaN())
			}
		}
	}
	for i, value := range x {
		if value < 0 {
			x[i] = 0
		}
	}
}

// The scaled weights are in use, as the test above can't see.
func TestSubnormalWeightsAreFound(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		if Path() == "portable" {
			return
		}
		conv, err := NewConv(Linear(3, 9))
		if err != nil {
			t.Fatal(err)
		}
		w := make([]float32, 27)
		for i := range w {
			w[i] = 0.5
		}
		found := func() bool {
			conv.SetWeights(w, nil)
			return conv.forward.subnormals.found && conv.backward.subnormals.found
		}
		if found() {
			t.Error("subnormal weights are found where none are")
		}
		w[26] = -1e-39
		if !found() {
			t.Error("a subnormal weight is not found")
		}
		w[0] = 1e30
		if found() {
			t.Error("weights are scaled that are too large for it")
		}
	})
}

// Plans beside each other have the same weights, but nothing else that they write to.
func TestSubnormalWeightsBeside(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		s := Linear(40, 40)
		conv, err := NewConv(s, Forward, BackwardInput)
		if err != nil {
			t.Fatal(err)
		}
		w, bias := random(r, s.Weights()), random(r, s.OutChannels)
		shrinkUnits(rand.New(rand.NewPCG(1, 3)), s, w, bias)
		conv.SetWeights(w, bias)
		w[0] = 1e-40
		beside := []*Conv{conv.Beside(), conv.Beside()}
		conv.SetWeights(w, bias)
		var wait sync.WaitGroup
		for _, own := range beside {
			x, dy := random(r, s.InSize()), random(r, s.OutSize())
			rectified(r, x)
			want := [2][]float32{make([]float32, s.OutSize()), make([]float32, s.InSize())}
			conv.Forward(want[0], x, ReLU)
			conv.BackwardInputOfReLU(want[1], dy, x)
			wait.Go(func() {
				got := [2][]float32{make([]float32, s.OutSize()), make([]float32, s.InSize())}
				for range 200 {
					own.Forward(got[0], x, ReLU)
					own.BackwardInputOfReLU(got[1], dy, x)
					for i := range got {
						if !slices.EqualFunc(got[i], want[i], sameBits) {
							t.Error("two goroutines get in each other's way")
							return
						}
					}
				}
			})
		}
		wait.Wait()
	})
}
