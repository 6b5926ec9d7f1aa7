package listing

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestJump: a page after so many trials has those that sorting all of them puts there.
func TestJump(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 1000).Draw(t, "trials")
		skip := rapid.IntRange(1, 1100).Draw(t, "skip")
		size := rapid.IntRange(1, 300).Draw(t, "size")
		noise := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		numbers := rapid.Uint64Range(1, 1000).Draw(t, "numbers")
		all := make([]Place, n)
		page, whole := NewTopAfter(uint64(skip), size), NewAll()
		for i := range all {
			all[i] = Place{Number: noise.Uint64N(numbers), Ties: noise.Uint64N(3), Index: uint64(i)}
		}
		if rapid.Bool().Draw(t, "sorted") {
			slices.SortFunc(all, comparePlaces)
		}
		for i, at := range all {
			if whole.Bound().After(at) {
				whole.Offer(at)
			}
			if i%2 == 0 {
				page.Offer(at)
			} else {
				page.Add(at.Key(), nil)
			}
		}
		got, more := page.Trials()
		slices.SortFunc(all, comparePlaces)
		want := all[min(n, skip):min(n, skip+size)]
		if len(got) != len(want) || more != (skip+size < n) {
			t.Fatalf("%d trials, and more: %v, want %d of %d", len(got), more, len(want), n)
		}
		for i, trial := range got {
			if trial.Index != want[i].Index {
				t.Fatalf("trial %d is %d, want %d", i, trial.Index, want[i].Index)
			}
		}
		if !slices.EqualFunc(whole.Indexes(), all, func(index uint32, at Place) bool { return uint64(index) == at.Index }) {
			t.Fatal("all trials are not in order")
		}
	})
}
