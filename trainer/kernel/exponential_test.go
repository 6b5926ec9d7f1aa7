//go:build !race

package kernel

import (
	"math"
	"testing"
)

func TestExpAgreesWithDefinition(t *testing.T) {
	for i := -8000; i <= 8000; i++ {
		x := float32(i) / 8000 * 87
		want := math.Exp(float64(x))
		if got := float64(Exp(x)); math.Abs(got-want) > 2*0x1p-23*want {
			t.Fatalf("exp(%v) = %v, want %v", x, got, want)
		}
	}
	inf := float32(math.Inf(1))
	for x, want := range map[float32]float32{0: 1, inf: inf, -inf: 0, 1000: inf, -1000: 0} {
		if got := Exp(x); got != want {
			t.Errorf("exp(%v) = %v, want %v", x, got, want)
		}
	}
	if got := Exp(float32(math.NaN())); got == got {
		t.Errorf("exp(NaN) = %v", got)
	}
}

// The exponential is that of the sigmoid, so that there is one only.
func TestExpIsTheSigmoids(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		y := make([]float32, 4096*Lanes)
		for i := range y {
			switch x := float32(i - len(y)/2); i % 4 {
			case 0: // Around the largest exponentials, and where they and their inverses begin to be subnormal.
				y[i] = -88.5 + x/40_000
			case 1:
				y[i] = 87.5 + x/40_000
			default:
				y[i] = x / 300
			}
		}
		want := make([]float32, len(y))
		for i, x := range y {
			want[i] = 1 / (1 + Exp(-x))
		}
		active.Load().sigmoid(y)
		for i := range y {
			if y[i] != want[i] {
				t.Fatalf("sigmoid %d is %v, want %v", i, y[i], want[i])
			}
		}
	})
}

// Tiles of exponentials have the same bits on each path, from the largest numbers to the smallest, subnormal results
// included.
func TestExpTileIsExp(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		inf, negative := float32(math.Inf(1)), float32(math.Copysign(0, -1))
		x := []float32{
			0, negative, inf, -inf, 1000, -1000, 88.7, 88.8, -87.4, -95, -103, -103.9, -104, 1e-30, -1e-45, 1,
		}
		for i := range 1000 * Lanes {
			x = append(x, float32(i-500*Lanes)/70)
		}
		y := make([]float32, len(x))
		ExpTile(y, x)
		for i := range x {
			if want := Exp(x[i]); math.Float32bits(y[i]) != math.Float32bits(want) {
				t.Fatalf("exp(%v) is %v in a tile, %v alone", x[i], y[i], want)
			}
		}
		x[3] = float32(math.NaN())
		if ExpTile(x, x); x[3] == x[3] || x[0] != 1 {
			t.Errorf("exp(NaN) is %v, exp(0) %v, want NaN and 1", x[3], x[0])
		}
	})
}

func TestLogAgreesWithDefinition(t *testing.T) {
	for i := range 20000 {
		x := math.Exp2(float64(i-10000) / 97)
		if got, want := Log(x), math.Log(x); math.Abs(got-want) > 0x1p-50*math.Abs(want)+0x1p-54 {
			t.Fatalf("log(%v) = %v, want %v", x, got, want)
		}
		if x := 1 + float64(i-10000)*1e-7; math.Abs(Log(x)-math.Log(x)) > 0x1p-50*math.Abs(math.Log(x))+0x1p-60 {
			t.Fatalf("log(%v) = %v, want %v", x, Log(x), math.Log(x))
		}
	}
	for _, x := range []float64{0, 1, -1, math.Inf(1), math.Inf(-1), math.NaN(), math.MaxFloat64} {
		got, want := Log(x), math.Log(x)
		if got != want && !(got != got && want != want) && math.Abs(got-want) > 1e-12 {
			t.Errorf("log(%v) = %v, want %v", x, got, want)
		}
	}
	// math.Log is wrong about subnormal numbers on some processors.
	if got, want := Log(0x1p-1074), -1074*math.Ln2; math.Abs(got-want) > 1e-12 {
		t.Errorf("log(2^-1074) = %v, want %v", got, want)
	}
}
