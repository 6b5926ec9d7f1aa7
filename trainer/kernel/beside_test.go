package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

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
