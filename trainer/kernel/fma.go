package kernel

import "math"

// fma returns a*b + c rounded once, the same bits as the processor's fused multiply-add. A NaN's payload is
// unspecified.
//
// The product of two float32 is exact in float64. The sum is rounded to 53 bits, and rounding that to 24 bits gives the
// right answer unless the first rounding produced a tie for the second. That is where a normal result's dropped 29 bits
// are 1000...0; below the normal range, zero apart, ties look different, so the slow path takes those too.
func fma(a, b, c float32) float32 {
	sum := float64(float64(a)*float64(b)) + float64(c)
	bits := math.Float64bits(sum)
	if bits&0x1fffffff == 0x10000000 || bits>>52&0x7ff-1 < 1023-126-1 {
		return fmaOdd(a, b, c)
	}
	return float32(sum)
}

// fmaOdd is fma for any operands: it rounds the sum to odd, which keeps the second rounding from seeing a false tie
// (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to odd",
// 2008).
//
//go:noinline
func fmaOdd(a, b, c float32) float32 {
	product, addend := float64(a)*float64(b), float64(c)
	sum := product + addend
	if math.IsNaN(sum) || math.IsInf(sum, 0) {
		return float32(sum)
	}
	// Knuth's TwoSum: product + addend = sum + rest, exactly.
	part := sum - product
	rest := (product - (sum - part)) + (addend - part)
	bits := math.Float64bits(sum)
	if rest != 0 && bits&1 == 0 {
		// The exact value lies strictly between sum and its neighbor in the direction of rest; that neighbor is odd.
		if (rest > 0) == (sum > 0) {
			bits++
		} else {
			bits--
		}
	}
	return float32(math.Float64frombits(bits))
}
