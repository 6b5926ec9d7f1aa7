//go:build !race

package kernel

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// eachTap calls visit for every product of a forward pass by the definition, without grouping, in float64's terms: the
// output position, the input position, and the index of the weight.
func eachTap(s Shape, visit func(y, x, w int)) {
	kernel := s.KernelHeight * s.KernelWidth
	for o := range s.OutChannels {
		for i := range s.InChannels {
			for kr := range s.KernelHeight {
				for kc := range s.KernelWidth {
					if s.Transposed {
						for r := range s.InHeight {
							for c := range s.InWidth {
								row, column := r*s.Stride+kr-s.Padding, c*s.Stride+kc-s.Padding
								if row < 0 || row >= s.OutHeight() || column < 0 || column >= s.OutWidth() {
									continue
								}
								visit((o*s.OutHeight()+row)*s.OutWidth()+column, (i*s.InHeight+r)*s.InWidth+c,
									(i*s.OutChannels+o)*kernel+kr*s.KernelWidth+kc)
							}
						}
						continue
					}
					for row := range s.OutHeight() {
						for column := range s.OutWidth() {
							r, c := row*s.Stride+kr-s.Padding, column*s.Stride+kc-s.Padding
							if r < 0 || r >= s.InHeight || c < 0 || c >= s.InWidth {
								continue
							}
							visit((o*s.OutHeight()+row)*s.OutWidth()+column, (i*s.InHeight+r)*s.InWidth+c,
								(o*s.InChannels+i)*kernel+kr*s.KernelWidth+kc)
						}
					}
				}
			}
		}
	}
}

// sums are the sums of products of a reference, and of their absolute values, by which rounding errors scale.
type sums struct{ value, size []float64 }

func newSums(n int) sums { return sums{make([]float64, n), make([]float64, n)} }

func (s sums) add(i int, product float64) {
	s.value[i] += product
	s.size[i] += math.Abs(product)
}

func (s sums) compare(t rapid.TB, name string, got []float32) {
	t.Helper()
	for i := range s.value {
		if math.Abs(float64(got[i])-s.value[i]) > 1e-5*s.size[i]+1e-30 {
			t.Fatalf("%s[%d] = %g, want %g", name, i, got[i], s.value[i])
		}
	}
}

func drawShape(t *rapid.T) Shape {
	if rapid.IntRange(0, 5).Draw(t, "kind") == 0 {
		return Linear(rapid.IntRange(1, 40).Draw(t, "in"), rapid.IntRange(1, 40).Draw(t, "out"))
	}
	for {
		s := Shape{
			InChannels:   rapid.IntRange(1, 35).Draw(t, "in"),
			InHeight:     rapid.IntRange(1, 9).Draw(t, "height"),
			InWidth:      rapid.IntRange(1, 9).Draw(t, "width"),
			OutChannels:  rapid.IntRange(1, 35).Draw(t, "out"),
			KernelHeight: rapid.IntRange(1, 4).Draw(t, "kernel height"),
			KernelWidth:  rapid.IntRange(1, 4).Draw(t, "kernel width"),
			Stride:       rapid.IntRange(1, 3).Draw(t, "stride"),
			Padding:      rapid.IntRange(0, 3).Draw(t, "padding"),
			Transposed:   rapid.Bool().Draw(t, "transposed"),
		}
		if s.Transposed {
			s.OutputPaddingHeight = rapid.IntRange(0, s.Stride-1).Draw(t, "output padding of rows")
			s.OutputPaddingWidth = rapid.IntRange(0, s.Stride-1).Draw(t, "output padding of columns")
		}
		// The race detector makes the portable path slow.
		if s.Validate() == nil && s.FLOPs() <= 60_000 {
			return s
		}
	}
}

// random returns values from -2 to 2, the same on every machine.
func drawRand(t *rapid.T) *rand.Rand {
	return rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
}

func TestSetWeightsReplacesWeightsAndBias(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		conv, err := NewConv(Linear(1, 3))
		if err != nil {
			t.Fatal(err)
		}
		x, y := make([]float32, Lanes), make([]float32, 3*Lanes)
		x[0] = 2
		conv.SetWeights([]float32{5, 6, 7}, []float32{1, 2, 3})
		conv.SetWeights([]float32{2, 3, 4}, nil)
		conv.Forward(y, x, None)
		if got := []float32{y[0], y[Lanes], y[2*Lanes], y[1]}; !slices.Equal(got, []float32{4, 6, 8, 0}) {
			t.Errorf("got %v, want [4 6 8 0]", got)
		}
	})
}

func TestConvAgreesWithDefinition(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { agreesWithDefinition(t, drawShape(t), drawRand(t)) })
	})
}

// Linear layers next to the codes of large images have hundreds of thousands of features.
func TestWideLayersAgreeWithDefinition(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		for _, s := range []Shape{Linear(40_003, 2), Linear(2, 40_003)} {
			agreesWithDefinition(t, s, rand.New(rand.NewPCG(1, 2)))
		}
	})
}

func agreesWithDefinition(t rapid.TB, s Shape, r *rand.Rand) {
	conv, err := NewConv(s)
	if err != nil {
		t.Fatal(err)
	}
	weights, bias := random(r, s.Weights()), random(r, s.OutChannels)
	conv.SetWeights(weights, bias)

	const tiles = 2
	dw, db := newSums(s.Weights()), newSums(s.OutChannels)
	for range tiles {
		x, dy := random(r, s.InSize()), random(r, s.OutSize())
		y, dx := newSums(s.OutSize()), newSums(s.InSize())
		plane := s.OutHeight() * s.OutWidth() * Lanes
		for i := range y.value {
			y.add(i, float64(bias[i/plane]))
			db.add(i/plane, float64(dy[i]))
		}
		eachTap(s, func(iy, ix, iw int) {
			for lane := range Lanes {
				at, from := iy*Lanes+lane, ix*Lanes+lane
				y.add(at, float64(weights[iw])*float64(x[from]))
				dx.add(from, float64(weights[iw])*float64(dy[at]))
				dw.add(iw, float64(dy[at])*float64(x[from]))
			}
		})
		gotY, gotDX := random(r, s.OutSize()), random(r, s.InSize())
		conv.Forward(gotY, x, None)
		y.compare(t, "y", gotY)
		conv.BackwardInput(gotDX, dy)
		dx.compare(t, "dx", gotDX)
		conv.BackwardWeights(dy, x)

		for i, value := range y.value {
			y.value[i] = max(0, value)
		}
		conv.Forward(gotY, x, ReLU)
		y.compare(t, "relu(y)", gotY)
	}
	gotDW, gotDB := random(r, s.Weights()), random(r, s.OutChannels)
	conv.Gradient(gotDW, gotDB)
	dw.compare(t, "dw", gotDW)
	db.compare(t, "db", gotDB)

	conv.ZeroGrad()
	conv.Gradient(gotDW, gotDB)
	for i, value := range slices.Concat(gotDW, gotDB) {
		if value != 0 {
			t.Fatalf("gradient %d is %g after ZeroGrad", i, value)
		}
	}
}

// TestSquaresKeepTheirBits: the outputs of a single channel are those that the channel has beside another, where there
// are no squares, for all ways in which squares meet the edges.
func TestSquaresKeepTheirBits(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		for _, s := range squareShapes() {
			one := s
			one.OutChannels = 1
			conv, err := NewConv(one, Forward)
			if err != nil {
				t.Fatal(err)
			}
			beside, err := NewConv(s, Forward)
			if err != nil {
				t.Fatal(err)
			}
			if conv.forward.squares != conv.path.together {
				t.Fatalf("%v: squares are %t, want %t", one, conv.forward.squares, conv.path.together)
			}
			r := rand.New(rand.NewPCG(1, uint64(s.Padding)))
			kernel := s.KernelHeight * s.KernelWidth
			both, weights := random(r, s.Weights()), make([]float32, 0, one.Weights())
			for at := 0; at < len(both); at += 2 * kernel {
				weights = append(weights, both[at:at+kernel]...)
			}
			x, bias := special(r, random(r, s.InSize())), random(r, 2)
			conv.SetWeights(weights, bias[:1])
			beside.SetWeights(both, bias)
			got, checkGot := guarded(t, one.OutSize())
			want := make([]float32, s.OutSize())
			for _, activation := range []Activation{None, ReLU} {
				conv.Forward(got, x, activation)
				beside.Forward(want, x, activation)
				checkGot(s.String())
				if !slices.EqualFunc(got, want[:len(got)], sameBits) {
					t.Errorf("%v: the first channel's outputs differ from those of %v", s, one)
				}
			}
		}
	})
}

// squareShapes are layers of two output channels, which with one would have squares. In some no output has a neighbor,
// in some no tap reaches an output.
func squareShapes() (shapes []Shape) {
	for _, kernel := range [][2]int{{1, 1}, {2, 2}, {2, 4}, {4, 2}, {4, 4}, {3, 3}, {3, 4}, {5, 5}, {2, 5}} {
		for _, size := range [][2]int{{1, 1}, {1, 5}, {4, 3}, {5, 4}} {
			for padding := range 4 {
				for outputPadding := range 4 {
					rows, columns := outputPadding/2, outputPadding%2
					s := Shape{3, size[0], size[1], 2, kernel[0], kernel[1], 2, padding, rows, columns, true}
					if s.Validate() == nil {
						shapes = append(shapes, s)
					}
				}
			}
		}
	}
	return shapes
}

// An input that is too large for a second-level cache is read in bands, each small enough for one. Each output belongs
// to a position of one class.
func TestBands(t *testing.T) {
	for _, test := range []struct {
		shape             Shape
		forward, backward int // Rows in a band.
	}{
		{Shape{64, 14, 14, 128, 4, 4, 2, 1, 0, 0, false}, 2, 7},
		{Shape{128, 7, 7, 64, 4, 4, 2, 1, 0, 0, true}, 7, 2},
		{Shape{32, 40, 24, 32, 3, 3, 1, 1, 0, 0, false}, 6, 6},
		{Shape{40, 21, 14, 9, 3, 2, 2, 1, 0, 0, false}, 4, 21},
		{Shape{9, 11, 14, 40, 2, 3, 2, 1, 1, 0, true}, 21, 2},
		// All fits, or there is one output channel (without squares), or not even one row's input fits.
		{Shape{16, 7, 7, 32, 3, 3, 2, 0, 0, 0, false}, 3, 7},
		{Shape{64, 14, 14, 1, 4, 4, 3, 1, 0, 0, true}, singleRows, 14},
		{Shape{64, 9, 128, 64, 4, 4, 1, 1, 0, 0, false}, 1, 1},
	} {
		rows, columns := test.shape.axes()
		s := test.shape
		for _, pass := range []struct {
			name          string
			in, out, want int
			rows, columns axis
		}{
			{"forward", s.InChannels, s.OutChannels, test.forward, rows, columns},
			{"backward", s.OutChannels, s.InChannels, test.backward, rows.adjoint(), columns.adjoint()},
		} {
			if got := bandRows(pass.in, pass.out, pass.rows, pass.columns); got != pass.want {
				t.Errorf("%s, %s: %d rows in a band, want %d", s, pass.name, got, pass.want)
			}
			if pass.out == 1 {
				continue
			}
			seen := make([]int, pass.rows.out*pass.columns.out)
			for _, c := range newGather(Lanes, false, pass.in, pass.out, pass.rows, pass.columns).classes {
				for _, p := range c.positions {
					seen[p.y/Lanes]++
				}
			}
			for position, count := range seen {
				if count != 1 {
					t.Fatalf("%s, %s: position %d is in %d classes, want 1", s, pass.name, position, count)
				}
			}
		}
	}
}
