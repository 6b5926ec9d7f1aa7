package kernel

import "math"

// emulatedFMA returns a*b + c rounded once, the same bits as the processor's fused multiply-add. A NaN's payload is
// unspecified.
//
// The product of two float32 is exact in float64. The sum is rounded to 53 bits, and rounding that to 24 bits gives the
// right answer unless the first rounding produced a tie for the second.
func emulatedFMA(a, b, c float32) float32 {
	sum := float64(float64(a)*float64(b)) + float64(c)
	if roundsOnce(sum) {
		return float32(sum)
	}
	return fmaOdd(a, b, c)
}

// roundsOnce says whether a float64 that has been rounded can be rounded to float32 as if it had not. That is so unless
// it is a tie: a normal result's dropped 29 bits are 1000...0. Below the normal range, zero apart, ties look different;
// the answer is no for all numbers there.
func roundsOnce(sum float64) bool {
	const tie, normal = 1 << 63, (1023 - 126) << 53
	bits := math.Float64bits(sum)
	return bits<<35 != tie && bits<<1-1 >= normal-1
}

// fmaOdd is emulatedFMA for any operands: it rounds the sum to odd, which keeps the second rounding from seeing a false
// tie (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to odd",
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
