package latent

import (
	"math"
	"testing"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"
)

// Points on an ellipse, turned and moved, have its axes as components.
func TestPCAOfEllipse(t *testing.T) {
	const n, long, short = 360, 5.0, 2.0
	along, across := [2]float64{0.6, -0.8}, [2]float64{0.8, 0.6}
	points := Points{Dim: 2}
	for i := range n {
		sin, cos := math.Sincos(2 * math.Pi * float64(i) / n)
		for d := range 2 {
			points.Values = append(points.Values, 100+long*cos*along[d]+short*sin*across[d])
		}
	}
	projection, explained, err := PCA(t.Context(), points, 2)
	if err != nil {
		t.Fatal(err)
	}
	if want := long * long / (long*long + short*short); math.Abs(explained[0]-want) > 1e-12 ||
		math.Abs(sum(explained)-1) > 1e-12 {
		t.Errorf("explained %v, want %v and the rest", explained, want)
	}
	// Axes point where their largest coordinate is positive: the first is (-0.6, 0.8).
	for i := range n {
		sin, cos := math.Sincos(2 * math.Pi * float64(i) / n)
		got := projection.Row(i)
		if want := [2]float64{-long * cos, short * sin}; math.Abs(got[0]-want[0]) > 1e-9 ||
			math.Abs(got[1]-want[1]) > 1e-9 {
			t.Fatalf("point %d is projected to %v, want %v", i, got, want)
		}
	}
}

// Components are the covariance matrix's eigenvectors, which gonum finds another way than by singular values.
func TestPCAOfCovariance(t *testing.T) {
	points, _ := clusters(t, 150, 9, 4, 5)
	projection, explained, err := PCA(t.Context(), points, 9)
	if err != nil {
		t.Fatal(err)
	}
	var covariance mat.SymDense
	stat.CovarianceMatrix(&covariance, mat.NewDense(150, 9, points.Values), nil)
	var eigen mat.EigenSym
	if !eigen.Factorize(&covariance, true) {
		t.Fatal("no eigenvectors")
	}
	values := eigen.Values(nil)
	var total float64
	for _, v := range values {
		total += v
	}
	var vectors mat.Dense
	eigen.VectorsTo(&vectors)
	means := make([]float64, 9)
	for i := range 150 {
		for d, v := range points.Row(i) {
			means[d] += v / 150
		}
	}
	for c := range 9 {
		if got, want := explained[c], values[8-c]/total; math.Abs(got-want) > 1e-12 {
			t.Errorf("component %d explains %v, want %v", c, got, want)
		}
		axis := mat.Col(nil, 8-c, &vectors)
		turn(axis)
		for i := range 150 {
			var want float64
			for d, v := range points.Row(i) {
				want += (v - means[d]) * axis[d]
			}
			if got := projection.Row(i)[c]; math.Abs(got-want) > 1e-9 {
				t.Fatalf("coordinate %d of point %d is %v, want %v", c, i, got, want)
			}
		}
	}
}

// The axes that t-SNE begins with are PCA's.
func TestPrincipalStart(t *testing.T) {
	points, _ := clusters(t, 120, 7, 4, 5)
	for _, dim := range []int{2, 3} {
		projection, _, err := PCA(t.Context(), points, dim)
		if err != nil {
			t.Fatal(err)
		}
		start := make([]float64, 120*dim)
		scaled, _ := centred(points)
		if err := principalStart(t.Context(), scaled, dim, start); err != nil {
			t.Fatal(err)
		}
		var squares float64
		for i := range 120 {
			squares += start[i*dim] * start[i*dim] / 120
		}
		if got := math.Sqrt(squares); math.Abs(got/startDeviation-1) > 1e-12 {
			t.Errorf("the start deviates by %v along its first axis", got)
		}
		var along float64
		for i := range 120 {
			along += projection.Values[i*dim] * projection.Values[i*dim] / 120
		}
		for a := range dim {
			sign := math.Copysign(1, start[a]*projection.Values[a])
			for i := range 120 {
				want := sign * projection.Row(i)[a] * startDeviation / math.Sqrt(along)
				if got := start[i*dim+a]; math.Abs(got-want) > 1e-3*startDeviation {
					t.Fatalf("%d dimensions: point %d starts at %v along axis %d, want %v", dim, i, got, a, want)
				}
			}
		}
	}
}
