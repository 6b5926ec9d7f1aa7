package kernel

import (
	"math"
	"math/bits"
	"sync"
)

// NormalState is where the generators of a tile's lanes are: four words of each lane, not all zero.
type NormalState [4][Lanes]uint32

// Normal fills a tile, (value, lane), with standard normal numbers, and moves the lanes' generators on.
//
// Each lane has a generator of its own, xoshiro128++. The lower half of a draw makes a value, the upper half the next
// one: 15 bits choose the absolute value, the median of one of 2^15 equally probable slices of the distribution, and
// the highest one its sign. So each of 2^16 numbers is as probable as the next; they are symmetric about zero and never
// zero. They are scaled so that the variance is 1, and go up to 4.3. A last value that has no next one drops the upper
// half.
//
// Source: Blackman and Vigna, "Scrambled Linear Pseudorandom Number Generators", 2021.
func Normal(dst []float32, state *NormalState) {
	checkTile("dst", dst)
	active.Load().normal(dst, state, normalTable())
}

// normalPortable is as Normal.
func normalPortable(dst []float32, state *NormalState, table *[halfNormals]float32) {
	for lane := range Lanes {
		s0, s1, s2, s3 := state[0][lane], state[1][lane], state[2][lane], state[3][lane]
		for at := lane; at < len(dst); at += 2 * Lanes {
			draw := bits.RotateLeft32(s0+s3, 7) + s0
			shifted := s1 << 9
			s2 ^= s0
			s3 ^= s1
			s1 ^= s2
			s0 ^= s3
			s2 ^= shifted
			s3 = bits.RotateLeft32(s3, 11)
			dst[at] = normal(table, draw)
			if at+Lanes < len(dst) {
				dst[at+Lanes] = normal(table, draw>>16)
			}
		}
		state[0][lane], state[1][lane], state[2][lane], state[3][lane] = s0, s1, s2, s3
	}
}

// normal turns 16 bits into a number: the highest is its sign.
func normal(table *[halfNormals]float32, draw uint32) float32 {
	magnitude := math.Float32bits(table[draw%halfNormals])
	return math.Float32frombits(magnitude | draw<<16&(1<<31))
}

// halfNormals is how many absolute values there are.
const halfNormals = 1 << 15

// normalTable computes the absolute values, in ascending order.
var normalTable = sync.OnceValue(func() *[halfNormals]float32 {
	exact := make([]float64, halfNormals)
	var squares float64
	for i := range exact {
		// The probability above the median of slice i, of one tail: (halfNormals - i - 1/2) of 2 halfNormals.
		exact[i] = upperQuantile((float64(halfNormals-i) - 0.5) / (2 * halfNormals))
		squares += float64(exact[i] * exact[i])
	}
	// Medians are a little too near to zero.
	scale := math.Sqrt(halfNormals / squares)
	table := new([halfNormals]float32)
	for i, value := range exact {
		table[i] = float32(value * scale)
	}
	return table
})

// upperQuantile returns the number above which a standard normal number lies with probability p, between 2^-20 and 1/2.
// It consists of basic operations and square roots rounded one by one, so that every processor has the same bits.
// Source: Wichura, "Algorithm AS 241: The Percentage Points of the Normal Distribution", 1988, PPND16.
func upperQuantile(p float64) float64 {
	if q := 0.5 - p; q <= 0.425 {
		r := 0.180625 - float64(q*q)
		return float64(q*polynomial(r, 3.3871328727963666080, 1.3314166789178437745e2, 1.9715909503065514427e3,
			1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4,
			2.5090809287301226727e3)) /
			polynomial(r, 1, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
				2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3)
	}
	r := math.Sqrt(minusLog(p)) - 1.6
	return polynomial(r, 1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550, 3.64784832476320460504,
		1.27045825245236838258, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4) /
		polynomial(r, 1, 2.05319162663775882187, 1.67638483018380384940, 6.89767334985100004550e-1,
			1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9)
}

// polynomial is c[0] + c[1] x + c[2] x^2 and so on.
func polynomial(x float64, c ...float64) float64 {
	sum := 0.0
	for i := len(c) - 1; i >= 0; i-- {
		sum = float64(sum*x) + c[i]
	}
	return sum
}

// minusLog returns -log(p) of a p between 2^-20 and 1, to within some 1e-15.
func minusLog(p float64) float64 {
	// p = 2^-shift fraction, with the fraction from 1 to 2.
	shift := 0
	for p < 1 {
		p *= 2
		shift++
	}
	// log(fraction) = 2 atanh(s) = 2 (s + s^3/3 + s^5/5 + ...), with s at most 1/3.
	s := (p - 1) / (p + 1)
	square := float64(s * s)
	sum := 0.0
	for k := 16; k >= 0; k-- {
		sum = float64(sum*square) + 1/float64(2*k+1)
	}
	return float64(float64(shift)*math.Ln2) - float64(2*float64(s*sum))
}
