package latent

import (
	"math/rand/v2"
	"slices"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clusters draws n points around kinds centers, whose distance is about ten times a cluster's deviation, and says which
// belongs to which. The seed is logged.
func clusters(t testing.TB, n, dim, kinds int, seed uint64) (Points, []byte) {
	t.Helper()
	t.Logf("points of seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	centers := gaussian(random, kinds, dim)
	points, labels := gaussian(random, n, dim), make([]byte, n)
	for i := range n {
		labels[i] = byte(i % kinds)
		for d, v := range centers.Row(i % kinds) {
			points.Row(i)[d] += 7 * v
		}
	}
	return points, labels
}

func gaussian(random *rand.Rand, n, dim int) Points {
	points := Points{Values: make([]float64, n*dim), Dim: dim}
	for i := range points.Values {
		points.Values[i] = random.NormFloat64()
	}
	return points
}

func clone(p Points) Points { return Points{Values: slices.Clone(p.Values), Dim: p.Dim} }

func naiveDistance2(a, b []float64) float64 {
	var s float64
	for i := range a {
		s += (a[i] - b[i]) * (a[i] - b[i])
	}
	return s
}
