//go:build !race

package kernel

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The innermost loops of the portable path are what their comments say, with exactly rounded multiply-adds.
func TestSums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawRand(t)
		values := drawValues(t, r)
		if rapid.Bool().Draw(t, "ties") {
			// Products that lie between two float32, and others so small that they decide to which side.
			values = func(n int) []float32 {
				from := []float32{1 + 0x1p-12, -1 - 0x1p-12, 0x1p-50, -0x1p-50}
				values := make([]float32, n)
				for i := range values {
					values[i] = from[r.IntN(len(from))]
				}
				return values
			}
		}
		const size, stride = 3 * Lanes * Lanes, Lanes + 4
		x, w, totals := values(size*stride), values(size), values(Lanes)
		offset := rapid.Int32Range(0, size-Lanes)
		count := rapid.IntRange(0, 5).Draw(t, "count")
		taps, pairs := make([]tap, count), make([]pair, count)
		for i := range count {
			taps[i] = tap{x: offset.Draw(t, "x") - Lanes, w: offset.Draw(t, "w")}
			pairs[i] = pair{chosen: offset.Draw(t, "chosen") / 2, other: offset.Draw(t, "other")}
		}
		var want [3][Lanes]float32
		for lane := range Lanes {
			sum := totals[0]
			for _, tap := range taps {
				sum = exactFMA(w[tap.w], x[int(Lanes+tap.x)+lane], sum)
			}
			want[0][lane] = sum
			sum = 0
			for _, pair := range pairs {
				sum = exactFMA(x[int(pair.chosen)+lane], w[int(pair.other)+lane], sum)
			}
			want[1][lane] = totals[lane] + sum
			sum = 0
			for _, pair := range pairs {
				for with := range Lanes {
					sum = exactFMA(x[(int(pair.chosen)+with)*stride+lane], w[int(pair.other)+with], sum)
				}
			}
			want[2][lane] = totals[lane] + sum
		}
		got := [3][Lanes]float32{{}, [Lanes]float32(totals), [Lanes]float32(totals)}
		sumTaps(&got[0], totals[0], w, x, Lanes, taps)
		sumPairs(&got[1], x, w, pairs)
		sumLanePairs(&got[2], x, stride, w, pairs)
		for i, name := range []string{"taps", "pairs", "lane pairs"} {
			if !slices.EqualFunc(got[i][:], want[i][:], sameBits) {
				t.Fatalf("%s: got %x, want %x", name, got[i], want[i])
			}
		}
	})
}
