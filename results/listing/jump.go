package listing

import (
	"cmp"
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

// NewAll returns an empty list that keeps the places of all trials that are added, for Indexes.
func NewAll() *Top { return &Top{Size: math.MaxInt32, skip: 1, bound: end} }

// Indexes returns the indexes of all trials that were added to what NewAll has returned, in order. They must be below 1<<32.
func (t *Top) Indexes() []uint32 {
	slices.SortFunc(t.all, comparePlaces)
	indexes := make([]uint32, len(t.all))
	for i, at := range t.all {
		indexes[i] = uint32(at.Index)
	}
	return indexes
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
	if a.Number != b.Number { // So it is mostly.
		return cmp.Compare(a.Number, b.Number)
	}
	return cmp.Or(cmp.Compare(a.Ties, b.Ties), cmp.Compare(a.Index, b.Index))
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
