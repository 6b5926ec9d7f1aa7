//go:build !race

package kernel

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// exactFMA rounds a*b + c once, by arithmetic of arbitrary precision.
func exactFMA(a, b, c float32) float32 {
	if rough := float64(a)*float64(b) + float64(c); math.IsNaN(rough) || math.IsInf(rough, 0) {
		return float32(rough) // A product or an operand is no number: nothing is rounded.
	}
	const enough = 1000
	exact := func(v float32) *big.Float { return new(big.Float).SetPrec(enough).SetFloat64(float64(v)) }
	product := new(big.Float).SetPrec(enough).Mul(exact(a), exact(b))
	sum := product.Add(product, exact(c))
	if sum.Sign() == 0 {
		return a*b + c // The sign of a zero follows the usual rules.
	}
	rounded, _ := sum.Float32()
	return rounded
}

func TestFMARoundsOnce(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 3))
	finite := func() float32 {
		for {
			// Exponents near each other, so that the sums need rounding, or anywhere.
			bits := r.Uint32()
			switch r.IntN(3) {
			case 0:
				bits = bits&^(0xff<<23) | (117+r.Uint32N(20))<<23
			case 1:
				bits = bits&^(0xff<<23) | (50+r.Uint32N(20))<<23
			}
			if v := math.Float32frombits(bits); !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0) {
				return v
			}
		}
	}
	for range 300_000 {
		a, b, c := finite(), finite(), finite()
		if r.IntN(3) == 0 {
			// A tie of the product, decided by a tiny addend.
			a, b = 1+0x1p-12, (1+0x1p-12)*float32(1+r.IntN(4))
			c = float32(math.Ldexp(float64(c), -120-r.IntN(20)))
		}
		if got, want := fma(a, b, c), exactFMA(a, b, c); math.Float32bits(got) != math.Float32bits(want) {
			t.Fatalf("fma(%x, %x, %x) = %x, want %x", a, b, c, got, want)
		}
	}
}

// fmaOfVariables is fma where the compiler can't see that its arguments are constants.
//
//go:noinline
func fmaOfVariables(a, b, c float32) float32 { return fma(a, b, c) }

func TestFMAFalseTies(t *testing.T) {
	// The float64 sum is a tie between two float32, but the exact one lies beside it.
	fma := fmaOfVariables
	tie := float32(1 + 0x1p-12) // Its square is 1 + 2^-11 + 2^-24, a tie.
	for _, c := range []float32{0x1p-100, -0x1p-100, 0x1p-149, -0x1p-149, 0} {
		if got, want := fma(tie, tie, c), exactFMA(tie, tie, c); got != want {
			t.Errorf("fma(%x, %x, %x) = %x, want %x", tie, tie, c, got, want)
		}
	}
	// Subnormal results round at a fixed position.
	for _, c := range []float32{0x1p-149, -0x1p-149, 0x1.8p-140, 0} {
		for _, a := range []float32{0x1.000002p-75, -0x1.000002p-75, 0x1.8p-75, 0x1p-75, 0x1.fffffep-70} {
			got, want := fma(a, 0x1p-75, c), exactFMA(a, 0x1p-75, c)
			if math.Float32bits(got) != math.Float32bits(want) {
				t.Errorf("fma(%x, 2^-75, %x) = %x, want %x", a, c, got, want)
			}
		}
	}
}

func TestFMASpecialValues(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, test := range []struct{ a, b, c, want float32 }{
		{inf, 1, 0, inf},
		{inf, -1, 0, -inf},
		{inf, 0, 1, nan},
		{inf, 1, -inf, nan},
		{nan, 1, 1, nan},
		{1, 1, nan, nan},
		{1, 1, inf, inf},
		{math.MaxFloat32, 2, 0, inf},
		{math.MaxFloat32, 2, -math.MaxFloat32, math.MaxFloat32},
		{math.MaxFloat32, 1, 0x1p103, inf},
		{math.MaxFloat32, 1, 0x1.fffffep102, math.MaxFloat32},
	} {
		if got := fmaOfVariables(test.a, test.b, test.c); !sameBits(got, test.want) {
			t.Errorf("fma(%g, %g, %g) = %g, want %g", test.a, test.b, test.c, got, test.want)
		}
	}
}
