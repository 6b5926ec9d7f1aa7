package kernel

import "math"

// Exp returns e^x to within about an ulp, with the bits of the exponential in the sigmoid on every path. It is infinite
// above 88.8 and zero below -103.9. It is for the few values that no vector form is worth.
func Exp(x float32) float32 { return exp(x) }

// ExpTile computes y[i] = Exp(x[i]). y may be x.
func ExpTile(y, x []float32) {
	check("y", y, len(x))
	checkTile("x", x)
	if len(x) > 0 {
		active.Load().exp(y, x)
	}
}

// Log returns the natural logarithm of a number above 0, to within 2^-50 of it, or 2^-52 near 1. It consists of basic
// operations rounded one by one, unlike math.Log, so that every processor has the same bits. Log(0) is minus infinity,
// and the logarithm of a negative number is not a number.
func Log(x float64) float64 {
	switch {
	case math.IsNaN(x) || math.IsInf(x, 1):
		return x
	case x < 0:
		return math.NaN()
	case x == 0:
		return math.Inf(-1)
	}
	// x = fraction * 2^exponent, with the fraction between sqrt(1/2) and sqrt(2).
	fraction, exponent := math.Frexp(x)
	if fraction < math.Sqrt2/2 {
		fraction *= 2
		exponent--
	}
	// log(fraction) = 2 atanh(s) = 2 (s + s^3/3 + s^5/5 + ...), with s at most 0.172 away from 0.
	s := (fraction - 1) / (fraction + 1)
	square := float64(s * s)
	sum := 0.0
	for k := len(odd) - 1; k >= 0; k-- {
		sum = float64((sum + odd[k]) * square)
	}
	sum = 2*s + float64(2*s*sum)
	return float64(float64(exponent)*math.Ln2) + sum
}

// odd are 1/3, 1/5, 1/7 and so on.
var odd = func() (inverse [12]float64) {
	for k := range inverse {
		inverse[k] = 1 / float64(2*k+3)
	}
	return inverse
}()
