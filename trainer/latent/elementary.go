package latent

import "math"

// The exponential and the logarithm, as FreeBSD's e_exp.c and e_log.c have them (Sun Microsystems, 1993 and 2004;
// errors below 1 ulp), with every product rounded, so that they give the same bits on every platform. Those of package
// math don't.
const (
	ln2High = 6.93147180369123816490e-01
	ln2Low  = 1.90821492927058770002e-10
)

// exp returns e^x for x from -708 to 0, where results are normal numbers, and 0 below.
func exp(x float64) float64 {
	if x < -708 {
		return 0
	}
	// x = k ln 2 + r with |r| <= ln 2 / 2.
	k := int(float64(x*math.Log2E) - 0.5)
	high := x - float64(float64(k)*ln2High)
	low := float64(float64(k) * ln2Low)
	r := high - low
	t := float64(r * r)
	c := 4.13813679705723846039e-08
	c = -1.65339022054652515390e-06 + float64(t*c)
	c = 6.61375632143793436117e-05 + float64(t*c)
	c = -2.77777777770155933842e-03 + float64(t*c)
	c = 1.66666666666666019037e-01 + float64(t*c)
	c = r - float64(t*c)
	y := 1 - ((low - float64(r*c)/(2-c)) - high)
	return math.Float64frombits(math.Float64bits(y) + uint64(k)<<52)
}

// log returns the natural logarithm of a positive, normal, finite x.
func log(x float64) float64 {
	// x = 2^k (1 + f) with sqrt(2)/2 <= 1 + f < sqrt(2).
	bits := math.Float64bits(x)
	k := int(bits>>52) - 1023
	fraction := bits & (1<<52 - 1)
	f := math.Float64frombits(fraction | 1023<<52)
	if f > math.Sqrt2 {
		f /= 2
		k++
	}
	f--
	s := f / (2 + f)
	z := float64(s * s)
	w := float64(z * z)
	odd := 2.222219843214978396e-01 + float64(w*1.531383769920937332e-01)
	odd = 3.999999999940941908e-01 + float64(w*odd)
	odd = float64(w * odd)
	even := 1.818357216161805012e-01 + float64(w*1.479819860511658591e-01)
	even = 2.857142874366239149e-01 + float64(w*even)
	even = 6.666666666666735130e-01 + float64(w*even)
	even = float64(z * even)
	half := float64(float64(0.5*f) * f)
	correction := float64(s*(half+(odd+even))) + float64(float64(k)*ln2Low)
	return float64(float64(k)*ln2High) - ((half - correction) - f)
}
