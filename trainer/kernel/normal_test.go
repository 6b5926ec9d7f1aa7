//go:build !race

package kernel

import (
	"hash/fnv"
	"math"
	"slices"
	"testing"
)

// Every value that can be drawn, each as probable as the next: the distribution itself, without sampling.
func allNormals() []float64 {
	values := make([]float64, 0, 2*halfNormals)
	for draw := range uint32(2 * halfNormals) {
		values = append(values, float64(normal(normalTable(), draw)))
	}
	slices.Sort(values)
	return values
}

func TestNormalMoments(t *testing.T) {
	values := allNormals()
	for power, test := range map[int]struct{ want, tolerance float64 }{
		1: {0, 1e-12}, 2: {1, 1e-7}, 3: {0, 1e-12}, 4: {3, 0.002}, 5: {0, 1e-12}, 6: {15, 0.06},
	} {
		var sum float64
		for _, value := range values {
			sum += math.Pow(value, float64(power))
		}
		if got := sum / float64(len(values)); math.Abs(got-test.want) > test.tolerance {
			t.Errorf("moment %d is %v, want %v within %v", power, got, test.want, test.tolerance)
		}
	}
}

// The distribution function is nowhere further from the normal one than half a slice and what the scale moves.
func TestNormalDistribution(t *testing.T) {
	values := allNormals()
	for i, value := range values {
		want := (float64(i) + 0.5) / float64(len(values))
		if got := math.Erfc(-value/math.Sqrt2) / 2; math.Abs(got-want) > 1e-5 {
			t.Fatalf("value %d is %v: the normal distribution has %v below it, want %v", i, value, got, want)
		}
	}
	for _, bound := range []float64{1, 2, 3, 4} {
		beyond := 0
		for _, value := range values {
			if math.Abs(value) > bound {
				beyond++
			}
		}
		got, want := float64(beyond)/float64(len(values)), math.Erfc(bound/math.Sqrt2)
		if math.Abs(got-want) > 2e-5 {
			t.Errorf("beyond %v lie %v, want %v", bound, got, want)
		}
	}
	if largest := values[len(values)-1]; largest < 4.2 || largest > 4.4 {
		t.Errorf("the largest value is %v, want about 4.3", largest)
	}
	if slices.Contains(values, 0) {
		t.Error("zero can be drawn, which stands for no image")
	}
}

func TestUpperQuantile(t *testing.T) {
	for i := range 4000 {
		p := math.Exp2(-1 - 19*float64(i)/4000)
		want := math.Sqrt2 * math.Erfcinv(2*p)
		// Erfcinv computes 1 - 2p, which has few bits left of a small p.
		if got := upperQuantile(p); math.Abs(got-want) > 1e-16/p+1e-13 {
			t.Fatalf("of probability %v: %v, want %v", p, got, want)
		}
	}
}

// Each lane of a tile has the numbers of xoshiro128++ as its authors wrote it, lower half of a draw first, on each
// path.
func TestNormalFollowsTheGenerator(t *testing.T) {
	next := func(s *[4]uint32) uint32 {
		rotate := func(x uint32, k int) uint32 { return x<<k | x>>(32-k) }
		result := rotate(s[0]+s[3], 7) + s[0]
		t := s[1] << 9
		s[2] ^= s[0]
		s[3] ^= s[1]
		s[1] ^= s[2]
		s[0] ^= s[3]
		s[2] ^= t
		s[3] = rotate(s[3], 11)
		return result
	}
	if got := next(&[4]uint32{1, 2, 3, 4}); got != 641 {
		t.Fatalf("the reference generator begins with %d, want 641", got)
	}
	onEachPath(t, func(t *testing.T) {
		for _, values := range []int{1, 2, 3, 16, 784} {
			var state NormalState
			var lanes [Lanes][4]uint32
			for lane := range lanes {
				for word := range 4 {
					state[word][lane] = uint32(lane*7919 + word*104729 + 1)
					lanes[lane][word] = state[word][lane]
				}
			}
			dst := make([]float32, values*Lanes)
			for range 2 { // The second tile goes on where the first ended.
				Normal(dst, &state)
				for lane := range lanes {
					var draw uint32
					for i := range values {
						if draw >>= 16; i%2 == 0 {
							draw = next(&lanes[lane])
						}
						want := normalTable()[draw&0x7fff]
						if draw&0x8000 != 0 {
							want = -want
						}
						if got := dst[i*Lanes+lane]; got != want {
							t.Fatalf("value %d of lane %d, of %d, is %v, want %v", i, lane, values, got, want)
						}
					}
				}
			}
		}
	})
}

// The table's recorded bits. If they change, so must trainer.NumericsVersion.
func TestNormalTableBits(t *testing.T) {
	h := fnv.New64a()
	for _, value := range normalTable() {
		bits := math.Float32bits(value)
		h.Write([]byte{byte(bits), byte(bits >> 8), byte(bits >> 16), byte(bits >> 24)})
	}
	if got, want := h.Sum64(), uint64(0xa2fb244e2b1d28d9); got != want {
		t.Errorf("got %#x, want %#x", got, want)
	}
}

func BenchmarkNormal(b *testing.B) {
	onFastPaths(b, func(b *testing.B) {
		dst, state := Values(784*Lanes), NormalState{{1}, {2}, {3}, {4}}
		for b.Loop() {
			Normal(dst, &state)
		}
		b.ReportMetric(float64(b.N*Lanes)/b.Elapsed().Seconds(), "images/s")
	})
}
