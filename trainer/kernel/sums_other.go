//go:build !arm64

package kernel

// Other compilers than arm64's fuse nothing, or not always.

// fma returns a*b + c rounded once.
func fma(a, b, c float32) float32 { return emulatedFMA(a, b, c) }

func sumTaps(y *[Lanes]float32, bias float32, weights, x []float32, at int32, taps []tap) {
	emulatedTaps(y, bias, weights, x, at, taps)
}

func sumPairs(total *[Lanes]float32, chosen, other []float32, pairs []pair) {
	emulatedPairs(total, chosen, other, pairs)
}

func sumLanePairs(total *[Lanes]float32, transposed []float32, stride int, other []float32, pairs []pair) {
	emulatedLanePairs(total, transposed, stride, other, pairs)
}
