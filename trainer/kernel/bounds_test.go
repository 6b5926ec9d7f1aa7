//go:build !race

package kernel

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// guard is what lies around a guarded buffer.
const guard = 0x7f_c0_de_ad

// guarded returns n values with 32 guard words on either side, and a check that they are whole.
func guarded(t rapid.TB, n int) ([]float32, func(name string)) {
	const margin = 32
	whole := Values(n + 2*margin)
	for i := range whole {
		whole[i] = math.Float32frombits(guard)
	}
	return whole[margin : margin+n : margin+n], func(name string) {
		t.Helper()
		for i, word := range whole {
			if (i < margin || i >= margin+n) && math.Float32bits(word) != guard {
				t.Fatalf("%s: word %d beside %d values was overwritten", name, i-margin, n)
			}
		}
	}
}

// TestNoWritesBesideOutputs also shows that all of an output is written and nothing beside an input matters: guard
// words are NaNs.
func TestNoWritesBesideOutputs(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			s, r := drawShape(t), drawRand(t)
			conv, err := NewConv(s)
			if err != nil {
				t.Fatal(err)
			}
			checks := map[string]func(string){}
			buffer := func(name string, n int) []float32 {
				values, check := guarded(t, n)
				checks[name] = check
				return values
			}
			w, b := buffer("w", s.Weights()), buffer("b", s.OutChannels)
			x, dy := buffer("x", s.InSize()), buffer("dy", s.OutSize())
			for _, input := range [][]float32{w, b, x, dy} {
				copy(input, random(r, len(input)))
			}
			y, dx := buffer("y", s.OutSize()), buffer("dx", s.InSize())
			dw, db := buffer("dw", s.Weights()), buffer("db", s.OutChannels)
			m, v := buffer("m", s.Weights()), buffer("v", s.Weights())
			clear(m)
			clear(v)

			conv.SetWeights(w, b)
			conv.Forward(y, x, Activation(rapid.IntRange(0, 2).Draw(t, "activation")))
			conv.BackwardInput(dx, dy)
			conv.BackwardWeights(dy, x)
			conv.Gradient(dw, db)
			for name, output := range map[string][]float32{"y": y, "dx": dx, "dw": dw, "db": db} {
				for i, value := range output {
					if value != value {
						t.Fatalf("%s[%d] was not written", name, i)
					}
				}
			}
			Adam(w, dw, m, v, AdamStep{LearningRate: 1, Step: 1})
			ReLUBackward(dy, dy, y)
			SigmoidBackward(dy, dy, y)
			AddScaled(dy, y, dy, 2)
			Normal(dy, &NormalState{{1}, {2}, {3}, {4}})
			SquaredError(dy, y, 3)
			SquaredErrorBackward(dy, y, y, 3, 1)
			SigmoidSquaredErrorBackward(dy, y, y, 3, 1)
			pixels := make([]byte, 2*len(x)/Lanes)
			FillTile(x, pixels, len(x)/Lanes, []uint32{1, 0})
			for name, check := range checks {
				check(name)
			}
		})
	})
}

// TestPropagatesNaN: one input that is not a number reaches exactly the outputs that depend on it.
func TestPropagatesNaN(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			s, r := drawShape(t), drawRand(t)
			conv, err := NewConv(s)
			if err != nil {
				t.Fatal(err)
			}
			bad := rapid.SampledFrom([]float32{float32(math.NaN()), float32(math.Inf(1))}).Draw(t, "bad")
			w, x, dy := random(r, s.Weights()), random(r, s.InSize()), random(r, s.OutSize())
			atX, atDY := r.IntN(len(x)), r.IntN(len(dy))
			x[atX], dy[atDY] = bad, bad
			wantY, wantDX, wantDW := map[int]bool{}, map[int]bool{}, map[int]bool{}
			eachTap(s, func(iy, ix, iw int) {
				if ix == atX/Lanes {
					wantY[iy*Lanes+atX%Lanes] = true
					wantDW[iw] = true
				}
				if iy == atDY/Lanes {
					wantDX[ix*Lanes+atDY%Lanes] = true
					wantDW[iw] = true
				}
			})
			y, dx, dw := make([]float32, len(dy)), make([]float32, len(x)), make([]float32, len(w))
			conv.SetWeights(w, nil)
			conv.Forward(y, x, None)
			conv.BackwardInput(dx, dy)
			conv.BackwardWeights(dy, x)
			conv.Gradient(dw, make([]float32, s.OutChannels))
			for _, output := range []struct {
				name   string
				values []float32
				want   map[int]bool
			}{{"y", y, wantY}, {"dx", dx, wantDX}, {"dw", dw, wantDW}} {
				for i, value := range output.values {
					finite := !math.IsNaN(float64(value)) && !math.IsInf(float64(value), 0)
					if finite == output.want[i] {
						t.Fatalf("%s[%d] = %g, depends on a %g: %t", output.name, i, value, bad, output.want[i])
					}
				}
			}
		})
	})
}

func TestValidate(t *testing.T) {
	good := Shape{8, 14, 14, 16, 3, 3, 2, 1, 0, 0, false}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		change func(s *Shape)
		want   string
	}{
		{"no input channels", func(s *Shape) { s.InChannels = 0 }, "input channels is 0, want 1 to"},
		{"negative height", func(s *Shape) { s.InHeight = -1 }, "input height is -1"},
		{"huge width", func(s *Shape) { s.InWidth = 1<<20 + 1 }, "input width is 1048577"},
		{"no output channels", func(s *Shape) { s.OutChannels = 0 }, "output channels is 0"},
		{"no kernel", func(s *Shape) { s.KernelWidth = 0 }, "kernel width is 0"},
		{"stride 0", func(s *Shape) { s.Stride = 0 }, "stride is 0"},
		{"negative padding", func(s *Shape) { s.Padding = -1 }, "padding is -1, want 0 to"},
		{"output padding of a convolution", func(s *Shape) { s.OutputPaddingWidth = 1 }, "want 0 without Transposed"},
		{
			"output padding of a stride", func(s *Shape) { s.Transposed, s.OutputPaddingHeight = true, 2 },
			"less than the stride 2",
		},
		{"kernel larger than the image", func(s *Shape) { s.KernelHeight = 17 }, "gives no output"},
		{"padding larger than the image", func(s *Shape) { s.Transposed, s.Padding = true, 30 }, "gives no output"},
		{
			"too many values", func(s *Shape) { s.InChannels, s.InHeight, s.InWidth = 1<<14, 1<<14, 1<<14 },
			"the input would have more than",
		},
		{
			"more values than an int64 counts",
			func(s *Shape) { *s = Shape{1, 1, 1 << 20, 1 << 20, 64, 1, 1 << 20, 0, 0, 0, true} },
			"the output would have more than",
		},
		{
			"too many weights", func(s *Shape) { s.InChannels, s.OutChannels = 1<<15, 1<<15 },
			"the weights would have more than",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := good
			test.change(&s)
			conv, err := NewConv(s)
			if conv != nil || !errors.Is(err, ErrShape) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want ErrShape with %q", err, test.want)
			}
		})
	}
}

func TestSizesAndFLOPs(t *testing.T) {
	total := 0
	for _, l := range autoencoder {
		total += 3 * l.FLOPs()
	}
	total -= autoencoder[0].FLOPs()
	if total != 1_549_632 {
		t.Errorf("a training step of the autoencoder takes %d operations an image, want 1549632", total)
	}
	for _, test := range []struct {
		shape         Shape
		height, width int
		name          string
	}{
		{Shape{1, 28, 28, 8, 3, 3, 2, 1, 0, 0, false}, 14, 14, "conv 1x28x28-8x14x14 k3x3 s2 p1"},
		{Shape{16, 7, 7, 32, 3, 3, 2, 0, 0, 0, false}, 3, 3, "conv 16x7x7-32x3x3 k3x3 s2 p0"},
		{Shape{16, 7, 7, 8, 3, 3, 2, 1, 1, 1, true}, 14, 14, "deconv 16x7x7-8x14x14 k3x3 s2 p1 o1"},
		{Shape{16, 7, 7, 8, 3, 3, 2, 1, 1, 0, true}, 14, 13, "deconv 16x7x7-8x14x13 k3x3 s2 p1 o1x0"},
		{Shape{2, 5, 9, 3, 2, 4, 3, 0, 0, 0, false}, 2, 2, "conv 2x5x9-3x2x2 k2x4 s3 p0"},
		{Linear(288, 64), 1, 1, "linear 288-64"},
	} {
		if h, w := test.shape.OutHeight(), test.shape.OutWidth(); h != test.height || w != test.width {
			t.Errorf("%v has an output of %d x %d, want %d x %d", test.shape, h, w, test.height, test.width)
		}
		if got := test.shape.String(); got != test.name {
			t.Errorf("got name %q, want %q", got, test.name)
		}
	}
}

func TestWrongLengthsPanic(t *testing.T) {
	s := Shape{2, 4, 4, 3, 3, 3, 1, 1, 0, 0, false}
	conv, err := NewConv(s)
	if err != nil {
		t.Fatal(err)
	}
	forwardOnly, err := NewConv(s, Forward)
	if err != nil {
		t.Fatal(err)
	}
	in, out := make([]float32, s.InSize()), make([]float32, s.OutSize())
	w, b := make([]float32, s.Weights()), make([]float32, s.OutChannels)
	conv.SetWeights(w, b)
	for name, call := range map[string]func(){
		"weights":          func() { conv.SetWeights(w[1:], b) },
		"bias":             func() { conv.SetWeights(w, b[1:]) },
		"y":                func() { conv.Forward(out[1:], in, None) },
		"x":                func() { conv.Forward(out, in[1:], None) },
		"dx":               func() { conv.BackwardInput(in[1:], out) },
		"dy":               func() { conv.BackwardInput(in, out[1:]) },
		"dy of weights":    func() { conv.BackwardWeights(out[1:], in) },
		"x of weights":     func() { conv.BackwardWeights(out, in[1:]) },
		"dw":               func() { conv.Gradient(w[1:], b) },
		"db":               func() { conv.Gradient(w, b[1:]) },
		"unplanned":        func() { forwardOnly.BackwardInput(in, out) },
		"unplanned too":    func() { forwardOnly.BackwardWeights(out, in) },
		"relu":             func() { ReLUBackward(in, in[1:], in) },
		"part of tile":     func() { ReLUBackward(in[1:], in[1:], in[1:]) },
		"sigmoid":          func() { SigmoidBackward(in[16:], in, in) },
		"exponentials":     func() { ExpTile(in[16:], in) },
		"part of exp":      func() { ExpTile(in[1:], in[1:]) },
		"sum":              func() { AddScaled(in, in, in[16:], 1) },
		"part of a sum":    func() { AddScaled(in[1:], in[1:], in[1:], 1) },
		"part normal":      func() { Normal(in[1:], new(NormalState)) },
		"target":           func() { SquaredError(in, in[16:], 1) },
		"no lanes":         func() { SquaredError(in, in, 0) },
		"sigmoid's target": func() { SigmoidSquaredErrorBackward(in, in, in[16:], 1, 1) },
		"sigmoid's error":  func() { SigmoidSquaredErrorBackward(in[16:], in, in, 1, 1) },
		"17 lanes":         func() { SquaredErrorBackward(in, in, in, 17, 1) },
		"moment":           func() { Adam(w, w, w[1:], w, AdamStep{Step: 1}) },
		"step 0":           func() { Adam(w, w, w, w, AdamStep{}) },
		"no such image":    func() { FillTile(in[:32], make([]byte, 4), 2, []uint32{2}) },
		"17 images":        func() { FillTile(in[:32], make([]byte, 4), 2, make([]uint32, 17)) },
		"no pixels":        func() { FillTile(nil, nil, 0, nil) },
		"tile":             func() { FillTile(in[:31], make([]byte, 4), 2, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			call()
		})
	}
}

func TestNoAllocations(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		s := Shape{3, 6, 6, 9, 3, 3, 2, 1, 0, 0, false}
		conv, err := NewConv(s)
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(1, 7))
		w, b, x, y := random(r, s.Weights()), random(r, s.OutChannels), random(r, s.InSize()), random(r, s.OutSize())
		pixels, indices := make([]byte, s.InSize()), []uint32{3, 2, 1}
		dy := make([]float32, s.OutSize())
		state := NormalState{{1}, {2}, {3}, {4}}
		allocations := testing.AllocsPerRun(10, func() {
			conv.SetWeights(w, b)
			FillTile(x, pixels, s.InSize()/Lanes, indices)
			conv.Forward(y, x, Sigmoid)
			SquaredError(y, y, 5)
			SquaredErrorBackward(y, y, y, 5, 1)
			SigmoidSquaredErrorBackward(dy, y, y, 5, 1)
			SigmoidBackward(y, y, y)
			AddScaled(y, y, y, 1)
			Normal(y, &state)
			ReLUBackward(y, y, y)
			conv.BackwardInput(x, y)
			conv.BackwardWeights(y, x)
			conv.Gradient(w, b)
			conv.ZeroGrad()
			Adam(w, w, w, w, AdamStep{Step: 1})
		})
		if allocations != 0 {
			t.Errorf("%v allocations, want none", allocations)
		}
	})
}

func TestValuesBeginAtCacheLine(t *testing.T) {
	for n := 1; n < 100; n++ {
		values := Values(n)
		if address := uintptr(unsafe.Pointer(&values[0])); address%64 != 0 || len(values) != n || cap(values) != n {
			t.Fatalf("%d values, capacity %d, at %#x; want %d at a multiple of 64", len(values), cap(values), address,
				n)
		}
	}
}

func TestSetPathRefusesUnknown(t *testing.T) {
	before := Path()
	if err := SetPath("abacus"); err == nil || Path() != before {
		t.Errorf("got error %v and path %q, want an error and %q", err, Path(), before)
	}
}
