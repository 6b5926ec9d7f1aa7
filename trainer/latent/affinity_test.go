package latent

import (
	"math"
	"slices"
	"testing"
)

// perplexity is 2 to the power of the entropy in bits.
func perplexity(probabilities []float64) float64 {
	var entropy float64
	for _, p := range probabilities {
		if p > 0 {
			entropy -= p * math.Log2(p)
		}
	}
	return math.Exp2(entropy)
}

// The width of each point's Gaussian is such that its neighbours have the perplexity, whatever unit distances are in.
func TestConditionalProbabilities(t *testing.T) {
	const k = 90
	points, _ := clusters(t, 300, 8, 5, 6)
	neighbours, err := nearestNeighbours(t.Context(), points, k)
	if err != nil {
		t.Fatal(err)
	}
	probabilities := make([]float64, k)
	for _, unit := range []float64{1e-200, 1e-9, 1, 1e9, 1e200} {
		for _, want := range []float64{1.5, 5, 30, 80} {
			for i := 0; i < points.Len(); i += 11 {
				row := slices.Clone(neighbours[i*k : (i+1)*k])
				for j := range row {
					row[j].distance *= unit
				}
				conditionalProbabilities(row, want, probabilities)
				if got := sum(probabilities); math.Abs(got-1) > 1e-14 {
					t.Fatalf("point %d, unit %g: probabilities sum to %v", i, unit, got)
				}
				if got := perplexity(probabilities); math.Abs(got/want-1) > 2*perplexityTolerance {
					t.Fatalf("point %d, unit %g: perplexity %v, want %v", i, unit, got, want)
				}
				if !slices.IsSortedFunc(probabilities,
					func(a, b float64) int { return neighbour{b, 0}.compare(neighbour{a, 0}) }) {
					t.Fatalf("point %d, unit %g: a farther neighbour is likelier", i, unit)
				}
			}
		}
	}
}

// Neighbours that are equally near share alike: all of them, or those at distance 0 where they are more than the
// perplexity.
func TestConditionalProbabilitiesOfEqualDistances(t *testing.T) {
	probabilities := make([]float64, 9)
	for name, test := range map[string]struct {
		near       int
		far        float64
		perplexity float64
	}{"all": {9, 0, 3}, "more than the perplexity": {5, 1, 3}} {
		neighbours := make([]neighbour, 9)
		for j := test.near; j < 9; j++ {
			neighbours[j].distance = test.far
		}
		conditionalProbabilities(neighbours, test.perplexity, probabilities)
		for j, p := range probabilities {
			want := 0.0
			if j < test.near {
				want = 1 / float64(test.near)
			}
			if math.Abs(p-want) > 1e-12 {
				t.Errorf("%s: probability %v of neighbour %d, want %v", name, p, j, want)
			}
		}
	}
}

// The affinities are the definition's, symmetric to the bit, and sum to 1.
func TestAffinities(t *testing.T) {
	points, _ := clusters(t, 211, 6, 4, 8)
	for i := range 30 {
		copy(points.Row(i), points.Row(0))
	}
	const wanted, k = 7.5, 22
	a, err := newAffinities(t.Context(), points, wanted)
	if err != nil {
		t.Fatal(err)
	}
	n := points.Len()
	conditional := make([][]float64, n)
	for i := range n {
		conditional[i] = make([]float64, n)
		near, probabilities := naiveNeighbours(points, i)[:k], make([]float64, k)
		conditionalProbabilities(near, wanted, probabilities)
		for j, other := range near {
			conditional[i][other.point] = probabilities[j]
		}
	}
	got := dense(a)
	var total float64
	for i := range n {
		if got[i][i] != 0 {
			t.Errorf("point %d has an affinity of %v with itself", i, got[i][i])
		}
		columns := map[int32]bool{}
		for _, entry := range a.row(i) {
			if columns[entry.point] {
				t.Errorf("row %d has column %d twice", i, entry.point)
			}
			columns[entry.point] = true
		}
		for j := range n {
			total += got[i][j]
			if got[i][j] != got[j][i] {
				t.Fatalf("affinity %v of (%d, %d), %v the other way", got[i][j], i, j, got[j][i])
			}
			want := (conditional[i][j] + conditional[j][i]) / float64(2*n)
			if math.Abs(got[i][j]-want) > 1e-6*want+1e-40 {
				t.Fatalf("affinity %v of (%d, %d), want %v", got[i][j], i, j, want)
			}
		}
	}
	if math.Abs(total-1) > 1e-6 {
		t.Errorf("affinities sum to %v", total)
	}
}

// The package's own functions are those of package math to an ulp or two.
func TestElementary(t *testing.T) {
	for x := 0.0; x > -708; x -= 0.00731 {
		if got, want := exp(x), math.Exp(x); math.Abs(got/want-1) > 4e-16 {
			t.Fatalf("exp(%v) = %v, want %v", x, got, want)
		}
	}
	if exp(-709) != 0 || exp(math.Inf(-1)) != 0 || exp(0) != 1 {
		t.Errorf("exp of -709, -Inf, 0: %v, %v, %v", exp(-709), exp(math.Inf(-1)), exp(0))
	}
	for _, around := range []float64{1, 1e-300, 1e-10, math.Sqrt2, 2, 30, 1e10, 1e300} {
		for i := range 1000 {
			x := around * (0.5 + float64(i)/1000)
			if got, want := log(x), math.Log(x); math.Abs(got-want) > 4e-16*math.Abs(want) {
				t.Fatalf("log(%v) = %v, want %v", x, got, want)
			}
		}
	}
}
