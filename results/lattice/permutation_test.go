package lattice

import (
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// Every number has one place, and every place one number, whatever there are.
func TestPermutationIsOne(t *testing.T) {
	for n := uint64(1); n <= 300; n++ {
		p, seen := newPermutation("a", n), map[uint64]bool{}
		for place := range n {
			number := p.at(place)
			if number >= n || seen[number] || p.place(number) != place {
				t.Fatalf("of %d: %d at %d, which is found at %d", n, number, place, p.place(number))
			}
			seen[number] = true
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64Range(1, math.MaxUint64-1).Draw(t, "n")
		p, place := newPermutation("a", n), rapid.Uint64Range(0, n-1).Draw(t, "place")
		if number := p.at(place); number >= n || p.place(number) != place {
			t.Fatalf("%d at %d, which is found at %d", number, place, p.place(number))
		}
	})
}

// The first place is as likely to have any number, and the number after a number any other: over many names, their
// counts are as far from equal as chance makes them.
func TestPermutationIsRandom(t *testing.T) {
	const names = 20_000
	for _, n := range []uint64{2, 3, 5, 16, 17, 60} {
		first, pairs := make([]float64, n), make([]float64, n*n)
		for name := range names {
			p := newPermutation(fmt.Sprint(name), n)
			first[p.at(0)]++
			pairs[p.at(n/2)*n+p.at(n/2-1)]++
		}
		checkEven(t, fmt.Sprintf("first of %d", n), first, n, names)
		checkEven(t, fmt.Sprintf("neighbors of %d", n), pairs, n*(n-1), names)
	}
}

// checkEven compares counts of as many equally likely outcomes, some of which are impossible, with chance: chi-squared
// has the mean outcomes-1 and the variance twice that.
func checkEven(t *testing.T, what string, counts []float64, outcomes uint64, draws float64) {
	t.Helper()
	expected, sum := draws/float64(outcomes), 0.0
	for _, count := range counts {
		if count > 0 {
			sum += (count - expected) * (count - expected) / expected
		}
	}
	free := float64(outcomes - 1)
	if math.Abs(sum-free) > 6*math.Sqrt(2*free) {
		t.Errorf("%s: chi-squared %.1f with %.0f degrees of freedom", what, sum, free)
	}
}
