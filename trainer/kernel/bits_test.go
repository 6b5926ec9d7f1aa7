//go:build !race

package kernel

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// outputs collects everything that one path computes for a case.
type outputs map[string][]float32

func compareOutputs(t rapid.TB, name string, got, want outputs) {
	t.Helper()
	for key := range want {
		if !slices.EqualFunc(got[key], want[key], sameBits) {
			for i := range want[key] {
				if !sameBits(got[key][i], want[key][i]) {
					t.Fatalf("%s: %s[%d] = %x, portable path has %x", name, key, i, got[key][i], want[key][i])
				}
			}
		}
	}
}

// comparePaths runs compute on each path, as if subnormal numbers were slow and as if they were not.
func comparePaths(t rapid.TB, compute func() outputs) {
	t.Helper()
	previous := Path()
	defer func() { _ = SetPath(previous) }()
	if err := SetPath("portable"); err != nil {
		t.Fatal(err)
	}
	want := compute()
	for _, name := range Paths() {
		if err := SetPath(name); err != nil {
			t.Fatal(err)
		}
		for _, slow := range []bool{false, true} {
			withSubnormals(slow, func() { compareOutputs(t, name, compute(), want) })
		}
	}
}

// kinds of values: ordinary ones, tiny ones whose products are subnormal, and some that are special.
var kinds = []string{"normal", "tiny", "special"}

func valuesOf(kind string, r *rand.Rand, n int) []float32 {
	values := random(r, n)
	switch kind {
	case "tiny":
		for i := range values {
			values[i] *= 1e-20
		}
	case "special":
		special(r, values)
	}
	return values
}

func drawValues(t *rapid.T, r *rand.Rand) func(n int) []float32 {
	kind := rapid.SampledFrom(kinds).Draw(t, "values")
	return func(n int) []float32 { return valuesOf(kind, r, n) }
}

func TestSameBitsConv(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, seed := drawShape(t), rapid.Uint64().Draw(t, "seed")
		activation := Activation(rapid.IntRange(0, 2).Draw(t, "activation"))
		kind := rapid.SampledFrom(kinds).Draw(t, "values")
		comparePaths(t, func() outputs { return convOutputs(t, s, seed, kind, activation) })
	})
}

// TestSameBitsWeightsOfSingleChannel goes through the ways in which kernel rows meet edges, and the sizes of blocks.
func TestSameBitsWeightsOfSingleChannel(t *testing.T) {
	reached := 0
	for _, kernel := range []int{2, 3, 4, 7} {
		for stride := 1; stride <= 3; stride++ {
			for padding := 1; padding < min(3, kernel); padding++ {
				for _, s := range []Shape{
					{1, 6 * stride, 7 * stride, 13, kernel, kernel, stride, padding, 0, 0, false},
					{13, 6, 7, 1, kernel, kernel, stride, padding, 0, 0, true},
					{2, 6 * stride, 7 * stride, 1, kernel, kernel, stride, padding, 0, 0, false},
				} {
					comparePaths(t, func() outputs {
						conv, err := NewConv(s, BackwardWeights)
						if err != nil {
							t.Fatal(err)
						}
						for _, run := range conv.weights.runs {
							if run.reached {
								reached++
							}
						}
						r := rand.New(rand.NewPCG(1, uint64(kernel)))
						for range 2 {
							conv.BackwardWeights(random(r, s.OutSize()), random(r, s.InSize()))
						}
						dw, db := make([]float32, s.Weights()), make([]float32, s.OutChannels)
						conv.Gradient(dw, db)
						return outputs{"dw of " + s.String(): dw, "db of " + s.String(): db}
					})
				}
			}
		}
	}
	if reached == 0 && active.Load().together {
		t.Error("no weights of a kernel row are done together at an edge")
	}
}

// TestSameBitsFewChannels has each number of channels that a last block can have, and positions that do not fill the
// blocks for few.
func TestSameBitsFewChannels(t *testing.T) {
	for channels := 2; channels <= 13; channels++ {
		for _, s := range []Shape{
			{2, 7, 9, channels, 3, 3, 1, 1, 0, 0, false},
			{2, 6, 5, channels, 3, 3, 2, 1, 1, 1, true},
		} {
			comparePaths(t, func() outputs {
				y := convOutputs(t, s, uint64(channels), "normal", ReLU)["y"]
				return outputs{"y of " + s.String(): y}
			})
		}
	}
}

// TestSameBitsLinear has each number of channels that the last blocks of a linear layer can have, and more blocks than
// are done in one call.
func TestSameBitsLinear(t *testing.T) {
	shapes := []Shape{Linear(16, 1100)}
	for out := 2; out <= 35; out++ {
		shapes = append(shapes, Linear(37-out, out))
	}
	for _, s := range shapes {
		comparePaths(t, func() outputs { return convOutputs(t, s, 1, "normal", ReLU) })
	}
}

// TestBitsOfContract compares with digests that were recorded. If it fails, losses differ from those that others have
// stored: undo the change, or change the trainer's numerics version along with the digests.
func TestBitsOfContract(t *testing.T) {
	want := map[string]uint64{
		"conv 8x20x20-2x20x20 k3x3 s1 p1":      0xb2103b5c5de9a5cd,
		"conv 1x28x28-8x14x14 k3x3 s2 p1":      0x9d0563bb6521dacf,
		"conv 8x14x14-16x7x7 k3x3 s2 p1":       0xba48bbae7d6e61db,
		"conv 16x7x7-32x3x3 k3x3 s2 p0":        0xb3ddd57f5480019d,
		"linear 288-64":                        0x3a5a9e3dd34ca876,
		"linear 64-16":                         0x96fa5a7f58e4c020,
		"linear 16-64":                         0xf1683dc777c50083,
		"linear 64-288":                        0x9667f1e272689d4c,
		"deconv 32x3x3-16x7x7 k3x3 s2 p0":      0xf688be965a658972,
		"deconv 16x7x7-8x14x14 k3x3 s2 p1 o1":  0xf75992f9935491e9,
		"deconv 8x14x14-1x28x28 k3x3 s2 p1 o1": 0xadf96c17e0cac95c,
		"conv 1x28x28-64x14x14 k4x4 s2 p1":     0x7848a01b0a095918,
		"deconv 64x14x14-1x28x28 k4x4 s2 p1":   0x7fdb35b9fbc4430a,

		"conv 40x21x14-9x11x8 k3x2 s2 p1":         0x1e252a639376c670,
		"deconv 9x11x14-40x21x27 k2x3 s2 p1 o1x0": 0xb04bb39559bd1629,
	}
	// Of these, the first takes more than one call of assembly per class, and the others are done in bands.
	large := []layer{
		{Shape{8, 20, 20, 2, 3, 3, 1, 1, 0, 0, false}, None},
		{Shape{40, 21, 14, 9, 3, 2, 2, 1, 0, 0, false}, ReLU},
		{Shape{9, 11, 14, 40, 2, 3, 2, 1, 1, 0, true}, ReLU},
	}
	for _, l := range slices.Concat(autoencoder, variational[:1], variational[5:], large) {
		onEachPath(t, func(t *testing.T) {
			digest := fnv.New64a()
			results := convOutputs(t, l.Shape, 1, "normal", l.activation)
			for _, name := range []string{"y", "dx", "dw", "db"} {
				if err := binary.Write(digest, binary.LittleEndian, results[name]); err != nil {
					t.Fatal(err)
				}
			}
			if got := digest.Sum64(); got != want[l.String()] {
				t.Errorf("the digest of %q is %#x, want %#x", l, got, want[l.String()])
			}
		})
	}
}

func convOutputs(t rapid.TB, s Shape, seed uint64, kind string, activation Activation) outputs {
	r := rand.New(rand.NewPCG(seed, 1))
	conv, err := NewConv(s)
	if err != nil {
		t.Fatal(err)
	}
	values := func(n int) []float32 { return valuesOf(kind, r, n) }
	conv.SetWeights(values(s.Weights()), values(s.OutChannels))
	y, dx, dxOfReLU := make([]float32, s.OutSize()), make([]float32, s.InSize()), make([]float32, s.InSize())
	dw, db := make([]float32, s.Weights()), make([]float32, s.OutChannels)
	for range 2 {
		x, dy := values(s.InSize()), values(s.OutSize())
		conv.Forward(y, x, activation)
		conv.BackwardInput(dx, dy)
		conv.BackwardWeights(dy, x)
		conv.BackwardInputOfReLU(dxOfReLU, dy, x)
		want := make([]float32, len(dx))
		ReLUBackward(want, dx, x)
		compareOutputs(t, s.String()+" on path "+Path(), outputs{"dx of ReLU": dxOfReLU}, outputs{"dx of ReLU": want})
	}
	conv.Gradient(dw, db)
	return outputs{"y": y, "dx": dx, "dw": dw, "db": db, "dx of ReLU": dxOfReLU}
}

func TestSameBitsElementwise(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRand(t)
		values := drawValues(t, r)
		n := rapid.IntRange(0, 9).Draw(t, "positions") * Lanes
		lanes := rapid.IntRange(1, Lanes).Draw(t, "lanes")
		y, dy, target := values(n), values(n), values(n)
		comparePaths(t, func() outputs {
			relu, sigmoid, square := make([]float32, n), make([]float32, n), make([]float32, n)
			ReLUBackward(relu, dy, y)
			SigmoidBackward(sigmoid, dy, y)
			sum := make([]float32, n)
			AddScaled(sum, y, dy, 0.3)
			exponential, activation := make([]float32, n), slices.Clone(y)
			ExpTile(exponential, y)
			active.Load().sigmoid(activation)
			SquaredErrorBackward(square, y, target, lanes, 0.125)
			both, fused := make([]float32, n), make([]float32, n)
			SigmoidBackward(both, square, y)
			SigmoidSquaredErrorBackward(fused, y, target, lanes, 0.125)
			compareOutputs(t, Path(), outputs{"in one pass": fused}, outputs{"in one pass": both})
			loss := SquaredError(y, target, lanes)
			bits := math.Float64bits(loss)
			if loss != loss {
				bits = 0
			}
			return outputs{
				"relu": relu, "sigmoid": sigmoid, "square": square, "sum": sum,
				"exponential": exponential, "activation": activation,
				"loss": {math.Float32frombits(uint32(bits >> 32)), math.Float32frombits(uint32(bits))},
			}
		})
	})
}

func TestSameBitsAdam(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRand(t)
		values := drawValues(t, r)
		n := rapid.IntRange(0, 40).Draw(t, "weights")
		weights, gradients := values(n), values(n)
		step := AdamStep{LearningRate: 1e-3, WeightDecay: rapid.SampledFrom([]float64{0, 1e-4}).Draw(t, "decay")}
		comparePaths(t, func() outputs {
			w, m, v := slices.Clone(weights), make([]float32, n), make([]float32, n)
			for step.Step = 1; step.Step <= 3; step.Step++ {
				Adam(w, gradients, m, v, step)
			}
			return outputs{"w": w, "m": m, "v": v}
		})
	})
}

func TestSameBitsFillTile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRand(t)
		size := rapid.IntRange(1, 70).Draw(t, "size")
		pixels := make([]byte, 40*size)
		for i := range pixels {
			pixels[i] = byte(r.Uint32())
		}
		indices := make([]uint32, rapid.IntRange(0, Lanes).Draw(t, "lanes"))
		for i := range indices {
			indices[i] = r.Uint32N(40)
		}
		comparePaths(t, func() outputs {
			tile := random(rand.New(rand.NewPCG(1, 1)), size*Lanes)
			FillTile(tile, pixels, size, indices)
			return outputs{"tile": tile}
		})
	})
}

// TestSameBitsPacking has weights of all layouts that are packed, whose channels do not fill the blocks.
func TestSameBitsPacking(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRand(t)
		in, out := rapid.IntRange(1, 30).Draw(t, "in"), rapid.IntRange(2, 30).Draw(t, "out")
		kernel := rapid.IntRange(1, 5).Draw(t, "kernel")
		weights := drawValues(t, r)(in * out * kernel * kernel)
		for _, transposed := range []bool{false, true} {
			s := Shape{in, 6, 6, out, kernel, kernel, 1, 0, 0, 0, transposed}
			comparePaths(t, func() outputs {
				conv, err := NewConv(s, Forward)
				if err != nil {
					t.Fatal(err)
				}
				conv.SetWeights(weights, nil)
				for o := range out {
					for i := range in {
						for k := range kernel * kernel {
							from := weights[(o*in+i)*kernel*kernel+k]
							if transposed {
								from = weights[(i*out+o)*kernel*kernel+k]
							}
							at := ((o/block*in+i)*kernel*kernel+k)*block + o%block
							if got := conv.forward.weights[at]; !sameBits(got, from) {
								t.Fatalf("%v: weight %d of (%d, %d) is packed as %x, want %x", s, k, o, i, got, from)
							}
						}
					}
				}
				return outputs{"packed": conv.forward.weights}
			})
		}
	})
}
