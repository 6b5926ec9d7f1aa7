package latent

import (
	"math"
	"slices"
	"testing"
)

// exactGradient is the definition, term by term: 4 sum_j (p_ij - q_ij / Z) q_ij (y_i - y_j), and the divergence.
func exactGradient(p [][]float64, y Points) (gradient []float64, divergence float64) {
	n := y.Len()
	q := make([][]float64, n)
	var z float64
	for i := range q {
		q[i] = make([]float64, n)
		for j := range n {
			if j != i {
				q[i][j] = 1 / (1 + naiveDistance2(y.Row(i), y.Row(j)))
				z += q[i][j]
			}
		}
	}
	gradient = make([]float64, len(y.Values))
	for i := range n {
		for j := range n {
			for d := range y.Dim {
				gradient[i*y.Dim+d] += 4 * (p[i][j] - q[i][j]/z) * q[i][j] * (y.Row(i)[d] - y.Row(j)[d])
			}
			if p[i][j] > 0 {
				divergence += p[i][j] * math.Log(p[i][j]/(q[i][j]/z))
			}
		}
	}
	return gradient, divergence
}

// dense returns the matrix of sparse affinities.
func dense(a *affinities) [][]float64 {
	p := make([][]float64, len(a.start)-1)
	for i := range p {
		p[i] = make([]float64, len(p))
		for _, entry := range a.row(i) {
			p[i][entry.point] += float64(entry.probability)
		}
	}
	return p
}

// gradient is what a step goes by.
func gradient(t *testing.T, a *affinities, y Points, theta float64) (gradient []float64, divergence float64) {
	t.Helper()
	d := newDescent(t.Context(), a, slices.Clone(y.Values), y.Dim, theta)
	defer d.stop()
	divergence, err := d.divergence()
	if err != nil {
		t.Fatal(err)
	}
	gradient = make([]float64, len(y.Values))
	for i := range gradient {
		gradient[i] = 4 * (d.attraction[i] - d.repulsion[i]/d.z)
	}
	return gradient, divergence
}

// relativeError is that of the vector a from b, by Euclidean norms.
func relativeError(a, b []float64) float64 {
	var off, all float64
	for i := range a {
		off += (a[i] - b[i]) * (a[i] - b[i])
		all += b[i] * b[i]
	}
	return math.Sqrt(off / all)
}

// The forces agree with the definition: to rounding where every pair counts, and closely where cells stand for points.
// Embeddings are those that trees find hard: points that coincide, a far outlier, an odd number.
func TestGradient(t *testing.T) {
	original, _ := clusters(t, 301, 8, 5, 3)
	a, err := newAffinities(t.Context(), original, 15)
	if err != nil {
		t.Fatal(err)
	}
	p := dense(a)
	for _, dim := range []int{2, 3} {
		spread, _ := clusters(t, 301, dim, 5, 4)
		duplicates, outlier := clone(spread), clone(spread)
		for i := range 120 {
			copy(duplicates.Row(i), duplicates.Row(i%7))
		}
		outlier.Row(17)[1] = 1e6
		tiny := clone(spread)
		for i := range tiny.Values {
			tiny.Values[i] *= 1e-160
		}
		for name, y := range map[string]Points{
			"spread": spread, "duplicates": duplicates, "outlier": outlier, "tiny": tiny,
			"equal": {Values: make([]float64, 301*dim), Dim: dim},
		} {
			want, wantDivergence := exactGradient(p, y)
			for theta, tolerance := range map[float64]float64{0: 1e-11, 0.2: 0.003, 0.5: 0.03} {
				got, divergence := gradient(t, a, y, theta)
				if name == "tiny" || name == "equal" {
					// All is attraction and repulsion of nearly nothing, down to subnormal numbers.
					for i := range got {
						if math.Abs(got[i]-want[i]) > 1e-170 {
							t.Fatalf("%s, %d dimensions, theta %v: gradient %v at %d, want %v", name, dim, theta,
								got[i], i, want[i])
						}
					}
				} else if e := relativeError(got, want); !(e < tolerance) {
					t.Errorf("%s, %d dimensions, theta %v: the gradient is off by %.2g, want below %v", name, dim,
						theta, e, tolerance)
				}
				if e := math.Abs(divergence/wantDivergence - 1); !(e < tolerance/4+1e-6) {
					t.Errorf("%s, %d dimensions, theta %v: divergence %v, want %v", name, dim, theta, divergence,
						wantDivergence)
				}
			}
		}
	}
}

// The tree's cells say what their points are: numbers, means, boxes.
func TestCellTree(t *testing.T) {
	for _, dim := range []int{2, 3} {
		y, _ := clusters(t, 500, dim, 5, 9)
		for i := range 40 {
			copy(y.Row(i), y.Row(0))
		}
		tree := newCellTree(y.Len(), dim, 0.5)
		capacity := cap(tree.cells)
		tree.build(y.Values)
		if cap(tree.cells) != capacity {
			t.Errorf("the tree grew beyond %d cells", capacity)
		}
		if !slices.IsSorted(tree.keys) {
			t.Error("the points are not in Morton order")
		}
		leaves := 0
		for i, c := range tree.cells {
			mean := make([]float64, dim)
			for _, point := range tree.order[c.first:c.last] {
				for d, v := range y.Row(int(point)) {
					mean[d] += v / c.mass
				}
			}
			if e := math.Sqrt(naiveDistance2(mean, c.center[:dim])); e > 1e-12 || c.mass != float64(c.last-c.first) {
				t.Errorf("cell %d has %v points, center off by %g", i, c.mass, e)
			}
			if c.leaf {
				leaves += int(c.mass)
			} else if int(c.next) <= i+2 {
				t.Errorf("cell %d is divided into fewer than two: next is %d", i, c.next)
			}
		}
		if leaves != y.Len() || int(tree.cells[0].next) != len(tree.cells) {
			t.Errorf("leaves have %d points, want %d; the whole ends at cell %d of %d",
				leaves, y.Len(), tree.cells[0].next, len(tree.cells))
		}
	}
}

// An iteration allocates nothing.
func TestIterationAllocatesNothing(t *testing.T) {
	original, _ := clusters(t, 400, 8, 5, 3)
	a, err := newAffinities(t.Context(), original, 15)
	if err != nil {
		t.Fatal(err)
	}
	d := newDescent(t.Context(), a, randomStart(400, 2, 1), 2, 0.5)
	defer d.stop()
	if n := testing.AllocsPerRun(50, func() {
		if err := d.computeForces(); err != nil {
			t.Fatal(err)
		}
		if _, err := d.step(12, 0.5, 50); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("an iteration allocates %v times", n)
	}
}
