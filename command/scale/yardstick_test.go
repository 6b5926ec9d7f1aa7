package main

import (
	"slices"
	"testing"
	"time"
)

// TestYardstick: the numbers that are read make a single circle, and what is told is a lower quartile of what was not told yet.
func TestYardstick(t *testing.T) {
	const places = 1500
	y := newYardstick(places)
	seen, at := 0, uint32(0)
	for {
		if at, seen = y.next[at], seen+1; at == 0 {
			break
		}
	}
	if seen != places {
		t.Errorf("after %d reads it is back where it began, want %d", seen, places)
	}
	y.work()
	if !slices.IsSorted(y.sorted) || slices.IsSorted(y.numbers) || y.at == 0 {
		t.Error("the work was not done, or can't be done again")
	}
	if sorting, reading := y.tell(); sorting <= 0 || reading <= 0 {
		t.Errorf("it took %v and %v µs", sorting, reading)
	}
	y.sorting = []time.Duration{9 * time.Millisecond, 3 * time.Millisecond, 2 * time.Millisecond, 8 * time.Millisecond}
	if sorting, reading := y.tell(); sorting != 3000 || reading != 0 {
		t.Errorf("told %v and %v µs, want 3000 and 0", sorting, reading)
	}
}
