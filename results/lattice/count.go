package lattice

import (
	"iter"
	"math/bits"
	"slices"

	"trellis/results/grid"
)

// Count returns how many trials have indexes from one on, below another, and how many the whole grid has there,
// whatever the budget.
//
// After an extension, the trials that the grid had before count where they were, and all others of the larger grid there.
func (l *Lattice) Count(from, to uint64) (within, all uint64) {
	if l.earlier == nil {
		return l.ownCount(from, to)
	}
	within, _ = l.earlier.Count(from, min(to, l.earlier.offset))
	if to = min(to, l.Indices()); to <= l.earlier.offset {
		return within, within
	}
	from = max(from, l.earlier.offset)
	visited := between(l.earlier.visited(), from, to)
	_, all = l.ownCount(from-l.earlier.offset, to-l.earlier.offset)
	if all -= visited; l.whole {
		return within + all, within + all
	}
	return within + between(l.kept(), from, to), within + all
}

// between returns how many of indexes, which ascend, are from one on, below another.
func between(indexes []uint64, from, to uint64) uint64 {
	first, _ := slices.BinarySearch(indexes, from)
	next, _ := slices.BinarySearch(indexes, to)
	return uint64(next - first)
}

// ownCount is Count of the grid itself. within is not known after an extension.
func (l *Lattice) ownCount(from, to uint64) (within, all uint64) {
	if to = min(to, l.grid.Size()); from >= to {
		return 0, 0
	}
	switch runs := l.runs.(type) {
	case *computed:
		all = runs.below(to) - runs.below(from)
	case *listed:
		all = runs.between(from, to)
	}
	if l.whole || l.earlier != nil {
		return all, all
	}
	return between(l.kept(), from, to), all
}

// below returns how many trials have indexes below one.
func (c *computed) below(index uint64) (n uint64) {
	for k := range c.products {
		p := &c.products[k]
		if index <= p.offset {
			break
		}
		end := c.grid.Size()
		if k+1 < len(c.products) {
			end = c.products[k+1].offset
		}
		if index >= end {
			n += p.points.size()
			continue
		}
		before, _ := p.points.rank(index - p.offset)
		n += before
	}
	return n
}

// between returns how many trials have indexes from one on, below another.
func (l *listed) between(from, to uint64) (n uint64) {
	for word := from / 64; word*64 < to; word++ {
		its := l.isTrial[word]
		if word == from/64 {
			its &= ^uint64(0) << (from % 64)
		}
		if end := word*64 + 64; end > to {
			its &= ^uint64(0) >> (end - to)
		}
		n += uint64(bits.OnesCount64(its))
	}
	return n
}

// Kept returns the indexes of the trials within the budget, ascending. ok is false if the budget allows all trials:
// they are not listed then. Nobody may change them.
func (l *Lattice) Kept() (indexes []uint64, ok bool) {
	if l.whole {
		return nil, false
	}
	if l.earlier == nil {
		return l.kept(), true
	}
	for place := range l.Runs() {
		indexes = append(indexes, l.Indexes(place)...)
	}
	slices.Sort(indexes)
	return indexes, true
}

// Pair is a number of trials of a grid that have digits on two of its dimensions.
type Pair struct {
	X, Y uint64
	N    uint64
}

// Pairs returns how many trials of the whole grid a product of the union has for each two digits on two of its
// dimensions, whatever the budget. Digits without trials may be missing. It takes about as long as there are pairs, or
// combinations of the values that the condition depends on; where grids overlap, as there are points.
func (l *Lattice) Pairs(product, x, y int) iter.Seq[Pair] {
	p := &l.grid.Products()[product]
	if of, ok := l.runs.(*computed); ok {
		return of.products[product].points.pairs(x, y)
	}
	return func(yield func(Pair) bool) {
		dx, dy := &p.Dimensions[x], &p.Dimensions[y]
		weight := func(of int) (weight uint64) {
			weight = 1
			for i := of + 1; i < len(p.Dimensions); i++ {
				weight *= p.Dimensions[i].Size()
			}
			return weight
		}
		wx, wy := weight(x), weight(y)
		counts := make([]uint64, dx.Size()*dy.Size())
		end := l.grid.Size()
		if product+1 < len(l.grid.Products()) {
			end = l.grid.Products()[product+1].Offset
		}
		of := l.runs.(*listed)
		for index := p.Offset; index < end; index++ {
			if of.isTrial[index/64]&(1<<(index%64)) != 0 {
				rest := index - p.Offset
				counts[rest/wy%dy.Size()*dx.Size()+rest/wx%dx.Size()]++
			}
		}
		for at, n := range counts {
			if n > 0 && !yield(Pair{uint64(at) % dx.Size(), uint64(at) / dx.Size(), n}) {
				return
			}
		}
	}
}

// pairs is Lattice.Pairs of a walk over all dimensions of a product, in their order.
func (w *walk) pairs(x, y int) iter.Seq[Pair] {
	return func(yield func(Pair) bool) {
		// Combinations of the tested digits that are met, by those of x and y among them.
		met, others := map[[2]uint64]uint64{}, uint64(1)
		for number := range len(w.below) - 1 {
			if w.below[number+1] == w.below[number] {
				continue
			}
			at, rest := [2]uint64{}, uint64(number)
			for i := len(w.digits) - 1; i >= 0; i-- {
				d := &w.digits[i]
				if !d.tested {
					continue
				}
				if i == x {
					at[0] = rest % d.size
				}
				if i == y {
					at[1] = rest % d.size
				}
				rest /= d.size
			}
			met[at]++
		}
		for i := range w.digits {
			if !w.digits[i].tested && i != x && i != y {
				others *= w.digits[i].size
			}
		}
		free := func(i int) uint64 { // How many digits stand for the one of an untested dimension.
			if w.digits[i].tested {
				return 1
			}
			return w.digits[i].size
		}
		for at, n := range met {
			for dx := range free(x) {
				for dy := range free(y) {
					if !yield(Pair{at[0] + dx, at[1] + dy, n * others}) {
						return
					}
				}
			}
		}
	}
}

// DimensionOf returns the position of a parameter among the dimensions of a product, or -1.
func DimensionOf(p *grid.Product, name string) int {
	return slices.IndexFunc(p.Dimensions, func(d grid.Dimension) bool { return d.Name == name })
}
