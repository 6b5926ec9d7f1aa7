package node

import "testing"

// The workers of one machine share it: each of them may fill its part.
func TestWorkersShareTheMachine(t *testing.T) {
	options := Options{Workers: 3, Slots: 2}
	for n := range options.Workers {
		if got := options.worker(n); got.Sharers != 3 || got.Sharer != n || got.Slots != 2 {
			t.Errorf("worker %d of 3 is number %d of %d and has %d slots, want 2", n+1, got.Sharer, got.Sharers, got.Slots)
		}
	}
}
