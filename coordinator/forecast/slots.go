package forecast

import (
	"cmp"
	"slices"
)

// slot is room for one run. It becomes free after some seconds, and its epochs take factor times as long as on average.
type slot struct{ free, factor float64 }

// slots is a heap: the slot that becomes free first comes first.
type slots []slot

// newSlots returns slots that are free now.
func newSlots(n int) slots {
	s := make(slots, n)
	for i := range s {
		s[i].factor = 1
	}
	return s
}

// order makes slots in any order a heap.
func (s slots) order() {
	slices.SortFunc(s, func(a, b slot) int { return cmp.Compare(a.free, b.free) })
}

// run gives a run of the given length to the slot that becomes free first, and returns when it ends.
func (s slots) run(seconds float64) (end float64) {
	first := s[0]
	first.free += seconds * first.factor
	place := 0
	for {
		child := 2*place + 1
		if child >= len(s) {
			break
		}
		if child+1 < len(s) && s[child+1].free < s[child].free {
			child++
		}
		if s[child].free >= first.free {
			break
		}
		s[place] = s[child]
		place = child
	}
	s[place] = first
	return first.free
}

// pour spreads work that consists of many small parts over the slots, and returns when it ends. Slots that were free
// earlier are then free at that time.
func (s slots) pour(seconds float64) (end float64) {
	if seconds <= 0 {
		return 0
	}
	s.order()
	level, speed := s[0].free, 0.0
	for i := range s {
		// The slots before i work from level on, until the next one joins them.
		if speed > 0 && seconds <= (s[i].free-level)*speed {
			break
		}
		seconds -= (s[i].free - level) * speed
		level = s[i].free
		speed += 1 / s[i].factor
	}
	level += seconds / speed
	for i := range s {
		s[i].free = max(s[i].free, level)
	}
	return level
}
