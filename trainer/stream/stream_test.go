package stream

import (
	"slices"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Recorded draws: if one of them changes, so does every loss, and trainer.NumericsVersion must be raised.
func TestRecordedDraws(t *testing.T) {
	s := New(1, Weights, 0)
	got := []uint32{s.Uint32(), s.Uint32(), s.Uint32()}
	if want := []uint32{0x5557ea1a, 0x14157345, 0x50a8e06}; !slices.Equal(got, want) {
		t.Errorf("Uint32: got %#x, want %#x", got, want)
	}
	order := make([]uint32, 10)
	New(7, BatchOrder, 3).Permutation(order)
	if want := []uint32{5, 8, 0, 9, 2, 6, 7, 1, 4, 3}; !slices.Equal(order, want) {
		t.Errorf("Permutation: got %v, want %v", order, want)
	}
	values := make([]float32, 4)
	New(7, Weights, 2).Uniform(values, 0.25)
	if want := []float32{-0.016141146, 0.2337662, 0.017757267, 0.010769486}; !slices.Equal(values, want) {
		t.Errorf("Uniform: got %v, want %v", values, want)
	}
}

// A stream that is used again draws what a new one does, also after half of a draw.
func TestReset(t *testing.T) {
	s := New(9, TrainingNoise, 4)
	s.Uint32()
	s.Reset(1, Weights, 0)
	if got, want := []uint32{s.Uint32(), s.Uint32()}, []uint32{0x5557ea1a, 0x14157345}; !slices.Equal(got, want) {
		t.Errorf("got %#x, want %#x", got, want)
	}
}

func TestKeysAreDistinct(t *testing.T) {
	type key struct {
		seed    uint32
		purpose Purpose
		epoch   int
	}
	seen := map[[2]uint32]key{}
	for _, k := range []key{
		{1, Weights, 0},
		{2, Weights, 0},
		{1 << 31, Weights, 0},
		{1, BatchOrder, 0},
		{1, SyntheticLoss, 0},
		{1, Weights, 1},
		{1, Weights, 256},
		{1, Weights, 1 << 32},
		{0, Weights, 1},
		{0, BatchOrder, 1},
		{2, Weights, 1},
	} {
		s := New(k.seed, k.purpose, k.epoch)
		first := [2]uint32{s.Uint32(), s.Uint32()}
		if other, found := seen[first]; found {
			t.Errorf("keys %v and %v begin alike", k, other)
		}
		seen[first] = k
	}
}

func TestPermutationHoldsEveryIndexOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		order := make([]uint32, rapid.IntRange(0, 500).Draw(t, "length"))
		New(rapid.Uint32().Draw(t, "seed"), BatchOrder, rapid.IntRange(1, 1000).Draw(t, "epoch")).Permutation(order)
		slices.Sort(order)
		for i, v := range order {
			if int(v) != i {
				t.Fatalf("sorted permutation has %d at %d", v, i)
			}
		}
	})
}

// Over 6,000 seeds each of the six orders of three things comes up about a thousand times: the 99.9% bound of the
// chi-squared statistic with five degrees of freedom is 20.5.
func TestPermutationIsUniform(t *testing.T) {
	counts := map[[3]uint32]float64{}
	for seed := range uint32(6000) {
		var order [3]uint32
		New(seed, BatchOrder, 1).Permutation(order[:])
		counts[order]++
	}
	var chiSquared float64
	for _, n := range counts {
		chiSquared += (n - 1000) * (n - 1000) / 1000
	}
	if len(counts) != 6 || chiSquared > 20.5 {
		t.Errorf("orders are not evenly likely: chi-squared %.1f, counts %v", chiSquared, counts)
	}
}

func TestBelowIsUnbiased(t *testing.T) {
	// Three quarters of the range: without rejection the lowest third would come up twice as often as the others.
	const n = 3 << 30
	s := New(1, BatchOrder, 1)
	var low int
	for range 30000 {
		v := s.below(n)
		if v >= n {
			t.Fatalf("below(%d) returned %d", uint32(n), v)
		}
		if v%3 == 0 {
			low++
		}
	}
	if low < 9500 || low > 10500 {
		t.Errorf("%d of 30000 draws are multiples of three, want about 10000", low)
	}
}

func TestUniform(t *testing.T) {
	const bound = 0.125
	values := make([]float32, 100_000)
	New(3, Weights, 0).Uniform(values, bound)
	var sum, squares float64
	for _, v := range values {
		if v < -bound || v >= bound {
			t.Fatalf("%v lies outside [-%v, %v)", v, bound, bound)
		}
		sum += float64(v)
		squares += float64(v) * float64(v)
	}
	mean, variance := sum/float64(len(values)), squares/float64(len(values))
	if mean < -0.001 || mean > 0.001 {
		t.Errorf("mean %v, want about 0", mean)
	}
	if want := bound * bound / 3; variance < 0.98*want || variance > 1.02*want {
		t.Errorf("variance %v, want about %v", variance, want)
	}
}
