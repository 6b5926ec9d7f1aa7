package lattice

import (
	"iter"

	"trellis/results/grid"
)

// Spot is where a run is in its grid. Who has to look at all runs of a study learns from it what they cost: it takes much less
// time than the run itself, and no memory.
type Spot struct {
	// Product has the points of the run's trials. They differ in max_epochs alone, and Rest is the place of one of them in the
	// product.
	Product *grid.Product
	Rest    uint64
	// Epochs is the epoch at which the run ends, and Before that at which it ended before the last extension: 0 if the study
	// did not have it.
	Epochs, Before uint32

	// of has the product, which is its number.
	of     *grid.Grid
	number int
}

// Spots yields those of the runs from a place on, below another, in the order of their places.
func (l *Lattice) Spots(from, to uint32) iter.Seq[Spot] {
	return func(yield func(Spot) bool) {
		had := uint32(0)
		if l.earlier != nil {
			had = l.earlier.Runs()
		}
		place := from
		for ; place < to && (place < had || had == 0); place++ {
			if !yield(l.Spot(place)) {
				return
			}
		}
		if place < to {
			l.newSpots(uint64(place-had), uint64(to-place), yield)
		}
	}
}

// newSpots yields so many of the runs that the study did not have before it was extended, from a number on. That is faster than
// finding each by its number.
func (l *Lattice) newSpots(number, n uint64, yield func(Spot) bool) {
	had := l.earlier.had
	part, isPart := had.(*hadPart)
	for position := had.other(number); n > 0; position++ {
		if !isPart {
			if _, is := had.before(position); is {
				continue
			}
		}
		rank := position
		if l.shuffled != nil {
			rank = l.shuffled.at(position)
		}
		spot := l.ownSpot(rank)
		if isPart && part.has(spot.number, spot.Rest) {
			continue
		}
		if n--; !yield(spot) {
			return
		}
	}
}

// has says whether a point at a place in product k of the larger grid, which the condition does not leave out, is in the part.
func (h *hadPart) has(k int, rest uint64) bool {
	p := &h.all.grid.Products()[k]
	for i := len(p.Dimensions) - 1; i >= 0; i-- {
		size := p.Dimensions[i].Size()
		if rest%size >= h.products[k].kept[i] {
			return false
		}
		rest /= size
	}
	return true
}

// Spot returns the spot of the run at a place.
func (l *Lattice) Spot(place uint32) Spot {
	if l.earlier == nil || place >= l.earlier.Runs() {
		return l.ownSpot(l.rankOf(place))
	}
	s := l.earlier.Spot(place)
	before := s.Epochs
	if l.earlier.lengthened {
		s = l.lengthened(s, place)
	}
	s.Before = before
	return s
}

// ownSpot returns the spot of the run of a rank of the grid itself.
func (l *Lattice) ownSpot(rank uint64) Spot {
	k, rest, epochs := l.runs.spot(rank)
	return Spot{Product: &l.grid.Products()[k], Rest: rest, Epochs: epochs, of: l.grid, number: k}
}

// lengthened returns where the run at a place, which the study had at a spot, is in the larger grid.
func (l *Lattice) lengthened(s Spot, place uint32) Spot {
	if part, ok := l.earlier.had.(*hadPart); ok && s.of == l.earlier.grid {
		milestones := part.all.products[s.number].milestones
		return Spot{
			Product: &l.grid.Products()[s.number], Rest: part.placeOf(s.number, s.Rest),
			Epochs: max(s.Epochs, milestones[len(milestones)-1]), of: l.grid, number: s.number,
		}
	}
	rank, ok := l.ownRank(l.earlier.At(l.earlier.firstIndex(place)))
	if !ok {
		return s
	}
	own := l.ownSpot(rank)
	own.Epochs = max(own.Epochs, s.Epochs)
	return own
}

// placeOf returns the place in product k of the larger grid of a point of the part.
func (h *hadPart) placeOf(k int, rest uint64) (place uint64) {
	p, weight := &h.all.grid.Products()[k], uint64(1)
	for i := len(p.Dimensions) - 1; i >= 0; i-- {
		kept := h.products[k].kept[i]
		place += rest % kept * weight
		rest /= kept
		weight *= p.Dimensions[i].Size()
	}
	return place
}

func (c *computed) spot(rank uint64) (product int, rest uint64, epochs uint32) {
	s := c.segmentOf(rank)
	p := &c.products[s.product]
	if rest = p.runs.at(s.start + rank - s.base); c.grid.RunsApart() {
		return s.product, rest, p.epochs.Epochs(rest / p.weight % p.epochs.Size())
	}
	return s.product, rest, p.milestones[len(p.milestones)-1]
}

func (l *listed) spot(rank uint64) (product int, rest uint64, epochs uint32) {
	slot := l.slots[rank]
	product = l.productOf(slot)
	var ends [16]uint32
	var points [16]uint64
	milestones, _ := l.trialsOf(product, slot, ends[:0], points[:0])
	return product, l.products[product].rest(slot), milestones[len(milestones)-1]
}
