//go:build !race

package kernel

import (
	"math"
	"math/rand/v2"
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

// Units of subnormal weights, or of others and a subnormal bias, whose sums are about zero: those that a ReLU makes
// zero, and those that are just positive.
func TestSubnormalUnitsAboutZero(t *testing.T) {
	zero, positive := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		s := Linear(rapid.IntRange(1, 40).Draw(t, "in"), rapid.IntRange(2, 20).Draw(t, "out"))
		seed := rapid.Uint64().Draw(t, "seed")
		comparePaths(t, func() outputs {
			r := rand.New(rand.NewPCG(seed, 1))
			conv, err := NewConv(s, Forward)
			if err != nil {
				t.Fatal(err)
			}
			x, y := make([]float32, s.InSize()), make([]float32, s.OutSize())
			size := float32(math.Pow(2, float64(r.IntN(11))))
			for i := range x {
				if i%Lanes == 0 || r.IntN(4) == 0 {
					x[i] = size * r.Float32()
				} else {
					x[i] = x[i-1]
				}
			}
			w, bias := make([]float32, s.Weights()), make([]float32, s.OutChannels)
			for o := range bias {
				size, sum, lane := math.Pow(2, -float64(92+r.IntN(58))), 0.0, r.IntN(Lanes)
				for i := range s.InChannels {
					w[o*s.InChannels+i] = float32(size * (2*r.Float64() - 1))
					sum += float64(w[o*s.InChannels+i]) * float64(x[i*Lanes+lane])
				}
				// Off by a few roundings, or quanta.
				sum += 0x1p-149*float64(r.IntN(7)-3) + sum*0x1p-24*float64(r.IntN(7)-3)
				if math.Abs(sum) < 0x1p-100 {
					bias[o] = float32(-sum)
				}
				if r.IntN(3) == 0 { // Negative weights, but for one.
					for i := range s.InChannels {
						w[o*s.InChannels+i] = -r.Float32()
					}
					w[o*s.InChannels+r.IntN(s.InChannels)] *= 1 - float32(r.IntN(10))
					bias[o] = math.SmallestNonzeroFloat32 * float32(r.IntN(2000)-1000)
				}
			}
			conv.SetWeights(w, bias)
			conv.Forward(y, x, Activation(r.IntN(2)))
			for _, value := range y {
				if value > 0 {
					positive++
				} else {
					zero++
				}
			}
			return outputs{"y": y}
		})
	})
	if zero == 0 || positive == 0 {
		t.Errorf("%d values are zero and %d positive, want both", zero, positive)
	}
}

// Zeros have the right sign: a ReLU makes +0 of a negative sum, also where the scaled one is -0, and leaves one of -0.
func TestSubnormalUnitsOfZero(t *testing.T) {
	s := Linear(2, 2)
	x := make([]float32, s.InSize())
	for lane := range Lanes {
		x[lane], x[Lanes+lane] = 0x1p-10, 0x1p-94
	}
	units := []struct {
		name    string
		w, bias []float32
	}{
		{"scaled to zero", []float32{-0x1p-100, -0x1p-149, 1, 1}, []float32{0, 0}},
		{"beside a subnormal bias", []float32{1, 1, 0, -0x1p-149}, []float32{0x1p-140, 0}},
	}
	comparePaths(t, func() outputs {
		all := outputs{}
		for _, u := range units {
			conv, err := NewConv(s, Forward)
			if err != nil {
				t.Fatal(err)
			}
			conv.SetWeights(u.w, u.bias)
			for _, activation := range []Activation{None, ReLU} {
				y := make([]float32, s.OutSize())
				conv.Forward(y, x, activation)
				all[u.name+[]string{None: "", ReLU: ", rectified"}[activation]] = y
			}
		}
		return all
	})
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
