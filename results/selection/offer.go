package selection

import (
	"trellis/results/columns"
	"trellis/results/lattice"
	"trellis/results/listing"
)

// Places says where trials are in an order, as far as that follows from their indexes.
type Places struct {
	of    *points
	order listing.Order
	// byIndex says that the order is that of the indexes, highest first if descending is.
	byIndex, descending bool
	// levels are the number that the order depends on, and what breaks ties: see listing.Order.Levels.
	levels [][]level
}

// level is a number that depends on one parameter, in a product.
type level struct {
	axis    axis
	numbers []uint64
}

// Places returns where trials are in an order.
func (s *Selection) Places(order listing.Order) *Places { return placesOf(s.points, order) }

// PlacesOf returns where the trials of a lattice are in an order. It must be Disjoint.
func PlacesOf(l *lattice.Lattice, order listing.Order) *Places { return placesOf(newPoints(l), order) }

func placesOf(of *points, order listing.Order) *Places {
	p := &Places{of: of, order: order}
	p.byIndex, p.descending = order.ByIndex()
	for _, its := range order.Levels() {
		p.levels = append(p.levels, newLevels(of, its))
	}
	return p
}

func newLevels(of *points, its lattice.Level) []level {
	levels := make([]level, len(of.products))
	for k := range levels {
		p, l := &of.products[k], &levels[k]
		l.axis = axis{size: 1, weight: 1}
		for _, axis := range p.axes {
			if axis.name == its.Parameter {
				l.axis = axis
			}
		}
		for value := range l.axis.size {
			l.numbers = append(l.numbers, its.Order(of.lattice.At(p.from+value*l.axis.weight)))
		}
	}
	return levels
}

// At returns the place of an untouched trial, and of any trial in an order by a parameter, or by index.
func (p *Places) At(index uint64) listing.Place { return p.place(p.number(index), index) }

// number is the part of a place that decides first.
func (p *Places) number(index uint64) uint64 {
	switch {
	case p.byIndex && p.descending:
		return ^index
	case p.byIndex:
		return index
	}
	return p.level(0, index)
}

func (p *Places) place(number, index uint64) listing.Place {
	return listing.Place{Number: number, Ties: p.level(1, index)<<32 | p.level(2, index), Index: index}
}

func (p *Places) level(i int, index uint64) uint64 {
	k := p.of.find(index)
	of := &p.levels[i][k]
	if len(of.numbers) == 1 {
		return of.numbers[0]
	}
	return of.numbers[of.axis.at(index-p.of.products[k].from)]
}

// Follow says that the places of all trials follow from their indexes.
func (p *Places) Follow() bool { return p.byIndex || p.order.OfPoint }

// within says whether some of the trials of columns may be on a page, after a place.
func (p *Places) within(page *listing.Top, after listing.Place, c *columns.Columns) bool {
	if p.Follow() {
		return true
	}
	lowest, highest := c.Numbers(p.order.Name()).Within(p.order)
	return c.Within(lowest, highest, after, page.Bound())
}

// Offer adds to a page those of the trials of columns that have bits, and are after a place.
func (p *Places) Offer(page *listing.Top, after listing.Place, c *columns.Columns, indexes []uint64, met Bits) {
	if !p.within(page, after, c) {
		return
	}
	numbers, last := c.Numbers(p.order.Name()), page.Bound()
	follow := p.Follow()
	for i := range met.Each {
		var number uint64
		if follow {
			number = p.number(indexes[i])
		} else {
			number = p.order.Number(numbers.At(i))
		}
		if number < after.Number || number > last.Number {
			continue
		}
		if at := c.Place(i, number); at.After(after) && last.After(at) {
			page.Offer(at)
			last = page.Bound()
		}
	}
}

// OfferUntouched adds to a page those of untouched trials, by their indexes, that are after a place.
func (p *Places) OfferUntouched(page *listing.Top, after listing.Place, indexes []uint64) {
	last := page.Bound()
	for _, index := range indexes {
		number := p.number(index)
		if number < after.Number || number > last.Number {
			continue
		}
		if at := p.place(number, index); at.After(after) && last.After(at) {
			page.Offer(at)
			last = page.Bound()
		}
	}
}
