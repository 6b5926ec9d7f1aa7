package kernel

import "math"

// CrossEntropy returns the sum of -(target log(y) + (1-target) log(1-y)) over the first lanes images of a tile, with
// logarithms of at least -100. y and target are between 0 and 1. It is not a number if a y is not.
//
// It has no vector form: every path computes it so. Logarithms that count nothing, of which black and white pixels
// have one each, are left out.
func CrossEntropy(y, target []float32, lanes int) float64 {
	check("target", target, len(y))
	checkTile("y", y)
	var sums [Lanes]float64
	for at := 0; at < len(y); at += Lanes {
		for lane := range lanes {
			p, t := float64(y[at+lane]), float64(target[at+lane])
			if t != 0 {
				sums[lane] -= float64(t * clampedLog(p))
			}
			if t != 1 {
				sums[lane] -= float64((1 - t) * clampedLog(1-p))
			}
		}
	}
	for half := Lanes / 2; half > 0; half /= 2 {
		for i := range half {
			sums[i] += sums[i+half]
		}
	}
	return sums[0]
}

// CrossEntropyBackward sets dy = scale * (y-target) / max((1-y) * y, 1e-12) in the first lanes images of a tile, and
// zero in the other lanes. dy may be y.
func CrossEntropyBackward(dy, y, target []float32, lanes int, scale float32) {
	check("dy", dy, len(y))
	check("target", target, len(y))
	checkTile("y", y)
	for at := 0; at < len(y); at += Lanes {
		for lane := range lanes {
			p := y[at+lane]
			dy[at+lane] = float32(scale*float32(p-target[at+lane])) / max(float32(float32(1-p)*p), 1e-12)
		}
		clear(dy[at+lanes : at+Lanes])
	}
}

// logarithmBits is of the number of intervals of mantissas, and leastLogarithm is where PyTorch clamps logarithms.
const (
	logarithmBits  = 7
	leastLogarithm = -100
)

// clampedLog is the natural logarithm of a number from 0 to 1, to within 2^-44 of it, but at least leastLogarithm.
// Its basic operations are rounded one by one, so that every processor has the same bits. It is faster than Log.
func clampedLog(x float64) float64 {
	if !(x > 0) {
		return leastLogarithm * (1 + (x - x)) // What is not a number stays so.
	}
	// x = 2^exponent * mantissa, with the mantissa between sqrt(1/2) and sqrt(2).
	bits := math.Float64bits(x) - leastMantissa
	exponent := float64(int64(bits) >> 52)
	mantissa := math.Float64frombits(bits&(1<<52-1) + leastMantissa)
	// log(mantissa) = log(center) + log(1 + r), with r at most 1/256 away from 0.
	its := &logarithms[bits>>(52-logarithmBits)&(1<<logarithmBits-1)]
	r := float64(mantissa*its.inverse) - 1
	square := float64(r * r)
	rest := 1.0/2 - float64(r*(1.0/3)) + float64(square*(1.0/4-float64(r*(1.0/5))+float64(square*(1.0/6))))
	return max(float64(exponent*math.Ln2)+(its.log+(r-float64(square*rest))), leastLogarithm)
}

// leastMantissa has the bits of the square root of 1/2.
const leastMantissa = 0x3fe6a09e667f3bcd

// logarithms has, for each interval of mantissas, the inverse of a number inside, and that number's logarithm. The
// number is 1 in the interval that ends right above 1, so that logarithms near 0 are as exact as others.
var logarithms = func() (table [1 << logarithmBits]struct{ inverse, log float64 }) {
	const width = 1 << (52 - logarithmBits)
	for i := range table {
		first := leastMantissa + uint64(i)*width
		table[i].inverse = 1 / math.Float64frombits(first+width/2)
		if one := math.Float64bits(1); first <= one && one < first+width {
			table[i].inverse = 1
		}
		table[i].log = -Log(table[i].inverse)
	}
	return table
}()
