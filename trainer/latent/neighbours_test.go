package latent

import (
	"slices"
	"testing"
)

// naiveNeighbours returns all others of point i, nearest first.
func naiveNeighbours(points Points, i int) []neighbour {
	var others []neighbour
	for j := range points.Len() {
		if j != i {
			// The product's own distance, so that points as good as equally near are in the same order.
			others = append(others, neighbour{squaredDistance(points.Row(i), points.Row(j)), int32(j)})
		}
	}
	sortNeighbours(others)
	return others
}

// The tree finds what a look at all points finds, equally near ones by number: for points on a grid, most are.
func TestNearestNeighbours(t *testing.T) {
	spread, _ := clusters(t, 400, 5, 4, 2)
	flat, _ := clusters(t, 333, 1, 3, 2)
	grid := Points{Dim: 2}
	for i := range 500 {
		grid.Values = append(grid.Values, float64(i%20), float64(i/20%5))
	}
	for name, points := range map[string]Points{
		"spread": spread, "one dimension": flat, "grid": grid, "one leaf": {spread.Values[:5*leafPoints], 5},
		"equal": {make([]float64, 3*200), 3}, "two": {[]float64{1, 2}, 1},
	} {
		for _, k := range []int{1, 7, points.Len() - 1} {
			if k >= points.Len() {
				continue
			}
			got, err := nearestNeighbours(t.Context(), points, k)
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < points.Len(); i += 7 {
				if want := naiveNeighbours(points, i)[:k]; !slices.Equal(got[i*k:(i+1)*k], want) {
					t.Fatalf("%s: the %d nearest of point %d are %v, want %v", name, k, i, got[i*k:(i+1)*k], want)
				}
			}
		}
	}
}

func TestSquaredDistance(t *testing.T) {
	for dim := range 12 {
		points, _ := clusters(t, 2, dim+1, 2, 1)
		a, b := points.Row(0), points.Row(1)
		got, want := squaredDistance(a, b), naiveDistance2(a, b)
		if got != squaredDistance(b, a) || relativeError([]float64{got}, []float64{want}) > 1e-14 {
			t.Errorf("dimension %d: %v there, %v back, want %v", dim+1, got, squaredDistance(b, a), want)
		}
	}
}
