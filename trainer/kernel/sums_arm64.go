package kernel

// On arm64 the compiler makes one fused multiply-add of a float32 product and a sum if no conversion separates them:
// the language allows it, and every processor has the instruction. So these loops have the contract's arithmetic, and
// are many times as fast as their emulation. The sums of the lanes are variables, because the compiler keeps no array
// in registers.

// fuses says whether the compiler does so here. If one ever stops, everything is emulated.
var fuses = compilerFuses()

// compilerFuses tries each loop on 2^-100 + (1 + 2^-12)^2, which lies just above a tie.
func compilerFuses() bool {
	const a, b, want = 1 + 0x1p-12, 0x1p-50, 1 + 0x1p-11 + 0x1p-23
	var rows [Lanes * Lanes]float32
	for lane := range Lanes {
		rows[lane], rows[Lanes+lane] = b, a
	}
	column := [Lanes]float32{b, a}
	var sums [4][Lanes]float32
	fusedTaps(&sums[0], b*b, rows[:], rows[:], 0, []tap{{x: Lanes, w: Lanes}})
	fusedPairs(&sums[1], rows[:], rows[:], []pair{{}, {chosen: Lanes, other: Lanes}})
	fusedLanePairs(&sums[2], rows[:], Lanes, column[:], []pair{{}})
	for lane, factor := range rows[Lanes:][:Lanes] {
		sums[3][lane] = fusedFMA(factor, factor, b*b)
	}
	for _, sum := range sums {
		for _, got := range sum {
			if got != want {
				return false
			}
		}
	}
	return true
}

func fusedFMA(a, b, c float32) float32 { return a*b + c }

// fma returns a*b + c rounded once. Of a and b, at most one may be a constant: inlined here and there, the compiler
// would multiply two of them by itself, and round.
func fma(a, b, c float32) float32 {
	if !fuses {
		return emulatedFMA(a, b, c)
	}
	return fusedFMA(a, b, c)
}

func sumTaps(y *[Lanes]float32, bias float32, weights, x []float32, at int32, taps []tap) {
	if !fuses {
		emulatedTaps(y, bias, weights, x, at, taps)
		return
	}
	fusedTaps(y, bias, weights, x, at, taps)
}

func sumPairs(total *[Lanes]float32, chosen, other []float32, pairs []pair) {
	if !fuses {
		emulatedPairs(total, chosen, other, pairs)
		return
	}
	fusedPairs(total, chosen, other, pairs)
}

func sumLanePairs(total *[Lanes]float32, transposed []float32, stride int, other []float32, pairs []pair) {
	if !fuses {
		emulatedLanePairs(total, transposed, stride, other, pairs)
		return
	}
	fusedLanePairs(total, transposed, stride, other, pairs)
}

// fusedTaps is emulatedTaps.
func fusedTaps(y *[Lanes]float32, bias float32, weights, x []float32, at int32, taps []tap) {
	s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15 :=
		bias, bias, bias, bias, bias, bias, bias, bias, bias, bias, bias, bias, bias, bias, bias, bias
	for _, tap := range taps {
		weight, v := weights[tap.w], (*[Lanes]float32)(x[at+tap.x:])
		s0 += weight * v[0]
		s1 += weight * v[1]
		s2 += weight * v[2]
		s3 += weight * v[3]
		s4 += weight * v[4]
		s5 += weight * v[5]
		s6 += weight * v[6]
		s7 += weight * v[7]
		s8 += weight * v[8]
		s9 += weight * v[9]
		s10 += weight * v[10]
		s11 += weight * v[11]
		s12 += weight * v[12]
		s13 += weight * v[13]
		s14 += weight * v[14]
		s15 += weight * v[15]
	}
	*y = [Lanes]float32{s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15}
}

// fusedPairs is emulatedPairs.
func fusedPairs(total *[Lanes]float32, chosen, other []float32, pairs []pair) {
	var s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15 float32
	for _, pair := range pairs {
		v, w := (*[Lanes]float32)(chosen[pair.chosen:]), (*[Lanes]float32)(other[pair.other:])
		s0 += v[0] * w[0]
		s1 += v[1] * w[1]
		s2 += v[2] * w[2]
		s3 += v[3] * w[3]
		s4 += v[4] * w[4]
		s5 += v[5] * w[5]
		s6 += v[6] * w[6]
		s7 += v[7] * w[7]
		s8 += v[8] * w[8]
		s9 += v[9] * w[9]
		s10 += v[10] * w[10]
		s11 += v[11] * w[11]
		s12 += v[12] * w[12]
		s13 += v[13] * w[13]
		s14 += v[14] * w[14]
		s15 += v[15] * w[15]
	}
	addLanes(total, &[Lanes]float32{s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15})
}

// fusedLanePairs is emulatedLanePairs.
func fusedLanePairs(total *[Lanes]float32, transposed []float32, stride int, other []float32, pairs []pair) {
	var s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15 float32
	for _, pair := range pairs {
		for lane, factor := range (*[Lanes]float32)(other[pair.other:]) {
			v := (*[Lanes]float32)(transposed[(int(pair.chosen)+lane)*stride:])
			s0 += factor * v[0]
			s1 += factor * v[1]
			s2 += factor * v[2]
			s3 += factor * v[3]
			s4 += factor * v[4]
			s5 += factor * v[5]
			s6 += factor * v[6]
			s7 += factor * v[7]
			s8 += factor * v[8]
			s9 += factor * v[9]
			s10 += factor * v[10]
			s11 += factor * v[11]
			s12 += factor * v[12]
			s13 += factor * v[13]
			s14 += factor * v[14]
			s15 += factor * v[15]
		}
	}
	addLanes(total, &[Lanes]float32{s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15})
}
