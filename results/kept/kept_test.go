package kept

import "testing"

// What was computed is kept, by what it was computed of, until there is no room for it.
func TestOf(t *testing.T) {
	k, computed := &Kept{}, 0
	get := func(of int) int {
		return Of(k, of, func() int {
			computed++
			return of + 1
		})
	}
	for range 2 {
		for of := range maxKept {
			if got := get(of); got != of+1 {
				t.Fatalf("%d of %d", got, of)
			}
		}
	}
	if computed != maxKept {
		t.Fatalf("computed %d times, want %d", computed, maxKept)
	}
	if get(maxKept); get(1) != 2 || computed != maxKept+1 {
		t.Fatalf("computed %d times, want %d: the oldest goes first", computed, maxKept+1)
	}
	if get(0); computed != maxKept+2 {
		t.Fatal("the oldest has not gone")
	}
}
