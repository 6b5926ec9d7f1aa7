package kernel

import (
	"math"
	"math/rand/v2"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// onEachPath runs a test once per path of this processor, as if it were slow with subnormal numbers.
func onEachPath(t *testing.T, test func(t *testing.T)) {
	previous := Path()
	defer func() { _ = SetPath(previous) }()
	for _, name := range Paths() {
		t.Run(name, func(t *testing.T) {
			if err := SetPath(name); err != nil {
				t.Fatal(err)
			}
			withSubnormals(true, func() { test(t) })
		})
	}
}

// withSubnormals runs what makes and uses plans as on a processor that is slow with subnormal numbers, or is not.
func withSubnormals(slow bool, run func()) {
	previous := slowSubnormals
	defer func() { slowSubnormals = previous }()
	slowSubnormals = func() bool { return slow }
	run()
}

// The paths must give the same bits. NaNs count as the same whatever their payload, which the contract leaves open.
func sameBits(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

func random(r *rand.Rand, n int) []float32 {
	values := make([]float32, n)
	for i := range values {
		values[i] = 4*r.Float32() - 2
	}
	return values
}

// special sprinkles values that arithmetic treats specially.
func special(r *rand.Rand, values []float32) []float32 {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	extremes := []float32{
		0, float32(math.Copysign(0, -1)), inf, -inf, nan,
		math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32, 1e-40, -3e-39, 1.1754944e-38, 1, -1,
	}
	for i := range values {
		if r.IntN(20) == 0 {
			values[i] = extremes[r.IntN(len(extremes))]
		}
	}
	return values
}
