package kernel

// The innermost loops of the portable path, with emulated multiply-adds. sums_arm64.go has them with the processor's.

// emulatedTaps: y[lane] = bias + the sum over taps of weights[tap.w] * x[at+tap.x+lane].
func emulatedTaps(y *[Lanes]float32, bias float32, weights, x []float32, at int32, taps []tap) {
	var sum [Lanes]float32
	for lane := range sum {
		sum[lane] = bias
	}
	for _, tap := range taps {
		emulatedMultiplyAdd(&sum, weights[tap.w], (*[Lanes]float32)(x[at+tap.x:]))
	}
	*y = sum
}

// emulatedPairs: total[lane] += the sum over pairs of chosen[pair.chosen+lane] * other[pair.other+lane].
func emulatedPairs(total *[Lanes]float32, chosen, other []float32, pairs []pair) {
	var sum [Lanes]float32
	for _, pair := range pairs {
		left, right := (*[Lanes]float32)(chosen[pair.chosen:]), (*[Lanes]float32)(other[pair.other:])
		for lane := range sum {
			wideSum := float64(float64(left[lane])*float64(right[lane])) + float64(sum[lane])
			if roundsOnce(wideSum) {
				sum[lane] = float32(wideSum)
			} else {
				sum[lane] = fmaOdd(left[lane], right[lane], sum[lane])
			}
		}
	}
	addLanes(total, &sum)
}

// emulatedLanePairs: total[i] += the sum over pairs, and lanes within, of transposed[(pair.chosen+lane)*stride+i] *
// other[pair.other+lane].
func emulatedLanePairs(total *[Lanes]float32, transposed []float32, stride int, other []float32, pairs []pair) {
	var sum [Lanes]float32
	for _, pair := range pairs {
		for lane, factor := range (*[Lanes]float32)(other[pair.other:]) {
			emulatedMultiplyAdd(&sum, factor, (*[Lanes]float32)(transposed[(int(pair.chosen)+lane)*stride:]))
		}
	}
	addLanes(total, &sum)
}

// emulatedMultiplyAdd: sum[lane] = emulatedFMA(factor, values[lane], sum[lane]).
func emulatedMultiplyAdd(sum *[Lanes]float32, factor float32, values *[Lanes]float32) {
	wide := float64(factor)
	for lane := range sum {
		wideSum := float64(wide*float64(values[lane])) + float64(sum[lane])
		if roundsOnce(wideSum) {
			sum[lane] = float32(wideSum)
		} else {
			sum[lane] = fmaOdd(factor, values[lane], sum[lane])
		}
	}
}

func addLanes(total, sum *[Lanes]float32) {
	for lane, value := range sum {
		total[lane] += value
	}
}
