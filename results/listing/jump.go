package listing

import (
	"math"
	"slices"
)

// NewTopAfter returns an empty list that keeps the trials after so many others: a page in the middle. It keeps the places of
// all trials that are added until it is asked for the page, and finds that without sorting them all.
func NewTopAfter(skip uint64, size int) *Top {
	t := NewTop(size)
	t.skip = min(skip, math.MaxInt32)
	return t
}

// Wanted is how many trials in order are enough to know the page, and whether there are more.
func (t *Top) Wanted() int { return int(t.skip) + t.Size + 1 }

// page returns the places of the page, and whether there are more.
func (t *Top) page() ([]Place, bool) {
	if t.skip >= uint64(len(t.all)) {
		return nil, false
	}
	from := int(t.skip)
	to := min(len(t.all), from+t.Size)
	partition(t.all, from)
	rest := t.all[from:]
	if to < len(t.all) {
		partition(rest, to-from)
	}
	page := rest[:to-from]
	slices.SortFunc(page, comparePlaces)
	return page, to < len(t.all)
}

func comparePlaces(a, b Place) int {
	switch {
	case b.After(a):
		return -1
	case a.After(b):
		return 1
	}
	return 0
}

// partition puts places such that the first n come before all others, in no order among themselves.
func partition(places []Place, n int) {
	const few = 64
	for tries := 0; n > 0 && n < len(places); tries++ {
		if len(places) <= few || tries == few { // More tries than few: the pivots are bad ones.
			slices.SortFunc(places, comparePlaces)
			return
		}
		low := split(places)
		switch {
		case n < low:
			places = places[:low]
		case n == low:
			return
		default:
			places, n = places[low:], n-low
		}
	}
}

// split divides places by one of them, and returns how many come before the others: at least one, and not all.
func split(places []Place) (low int) {
	pivot := middle(places[0], places[len(places)/2], places[len(places)-1])
	i, j := -1, len(places)
	for {
		for i++; pivot.After(places[i]); i++ {
		}
		for j--; places[j].After(pivot); j-- {
		}
		if i >= j {
			return max(1, j+1)
		}
		places[i], places[j] = places[j], places[i]
	}
}

// middle returns the second of three places.
func middle(a, b, c Place) Place {
	three := []Place{a, b, c}
	slices.SortFunc(three, comparePlaces)
	return three[1]
}
