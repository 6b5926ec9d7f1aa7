package lattice

import (
	"slices"
	"sort"

	"trellis/results/grid"
)

// A grid that was extended is a part of the larger one: the points whose values are all among the first of their axes. How
// many runs of a part are before one in the order of ranks is counted as the ranks are.

// hadPart are the runs of a part, of runs that are computed.
type hadPart struct {
	all      *computed
	products []partOfProduct
	// runs has, by segment, the number of the part's runs before it, and at the end of all.
	runs []uint64
}

// partOfProduct is what a part has of a product.
type partOfProduct struct {
	*firsts
	// kept is, by dimension, how many of its values the part has: the first ones.
	kept []uint64
}

// newHadPart returns the runs that a grid has of a larger one, or nil if it is not such a part.
func newHadPart(c *computed, of *grid.Grid) *hadPart {
	if len(of.Products()) != len(c.products) {
		return nil
	}
	h := &hadPart{all: c, products: make([]partOfProduct, len(c.products)), runs: make([]uint64, 1, len(c.segments)+1)}
	for k := range c.products {
		kept := firstValues(&c.grid.Products()[k], &of.Products()[k])
		if kept == nil || !sameMet(c.grid, of, k, kept) {
			return nil
		}
		h.products[k] = partOfProduct{newFirsts(c.products[k].runs, kept), kept}
	}
	for i := range c.segments {
		s := &c.segments[i]
		h.runs = append(h.runs, h.runs[i]+h.within(i, s.n))
	}
	return h
}

// firstValues returns how many values of each dimension a smaller product has, if they are the first ones, or nil.
func firstValues(of, smaller *grid.Product) []uint64 {
	if len(of.Dimensions) != len(smaller.Dimensions) {
		return nil
	}
	kept := make([]uint64, len(of.Dimensions))
	for i := range of.Dimensions {
		d, its := &of.Dimensions[i], &smaller.Dimensions[i]
		if kept[i] = its.Size(); d.Name != its.Name || d.Size() < its.Size() {
			return nil
		}
		for digit := range its.Size() {
			if grid.KeyOf(d.Value(digit)) != grid.KeyOf(its.Value(digit)) {
				return nil
			}
		}
	}
	return kept
}

// sameMet says whether a smaller grid's condition leaves out the same points of product k as that of the larger one.
func sameMet(g, smaller *grid.Grid, k int, kept []uint64) bool {
	met, was := g.Met(k), smaller.Met(k)
	if (met == nil) != (was == nil) {
		return false
	}
	p := &g.Products()[k]
	for number, is := range was {
		at, rest, weight := uint64(0), uint64(number), uint64(1)
		for i := len(p.Dimensions) - 1; i >= 0; i-- {
			if p.Tests(p.Dimensions[i].Name) {
				at += rest % kept[i] * weight
				rest /= kept[i]
				weight *= p.Dimensions[i].Size()
			}
		}
		if met[at] != is {
			return false
		}
	}
	return true
}

func (h *hadPart) count() uint64 { return h.runs[len(h.runs)-1] }

// within returns how many runs of the part are among the first n of a segment.
func (h *hadPart) within(i int, n uint64) uint64 {
	s := &h.all.segments[i]
	p := h.products[s.product].firsts
	return p.below(s.start+n) - p.below(s.start)
}

func (h *hadPart) before(position uint64) (n uint64, is bool) {
	i := sort.Search(len(h.all.segments), func(i int) bool { return h.all.segments[i].base > position }) - 1
	s := &h.all.segments[i]
	p := &h.products[s.product]
	n, is = p.rank(h.all.products[s.product].runs.at(s.start + position - s.base))
	return h.runs[i] + n - p.below(s.start), is
}

func (h *hadPart) other(number uint64) uint64 {
	free := func(i int) uint64 { return h.all.segments[i].base - h.runs[i] }
	i := sort.Search(len(h.all.segments), func(i int) bool { return free(i) > number }) - 1
	s := &h.all.segments[i]
	number -= free(i)
	// The last position before which are no more others than that.
	low, high := number, min(s.n, number+h.runs[i+1]-h.runs[i]+1)
	for low+1 < high {
		if middle := low + (high-low)/2; middle-h.within(i, middle) <= number {
			low = middle
		} else {
			high = middle
		}
	}
	return s.base + low
}

// after: up to the next value on the fastest axis with new ones, all points are in the part too.
func (h *hadPart) after(index uint64) (next uint64, ok bool) {
	p, rest, its := h.at(index)
	weight := uint64(1)
	for i := len(its.kept) - 1; i >= 0; i-- {
		size := p.Dimensions[i].Size()
		if its.kept[i] < size {
			return p.Offset + rest/(weight*size)*weight*size + its.kept[i]*weight, true
		}
		weight *= size
	}
	return p.Offset + weight, true // The whole product was there.
}

// beforeIndex: back to the next lower value on an axis slower than that, all points are in the part too.
func (h *hadPart) beforeIndex(index uint64) (previous uint64, ok bool) {
	p, rest, its := h.at(index)
	weight, beyond := uint64(1), false
	for i := len(its.kept) - 1; i >= 0; i-- {
		size := p.Dimensions[i].Size()
		if beyond && rest/weight%size > 0 {
			return p.Offset + rest/weight*weight - 1, true
		}
		beyond = beyond || its.kept[i] < size
		weight *= size
	}
	return p.Offset - 1, p.Offset > 0
}

// at returns the product of a point of the part, and where it is there.
func (h *hadPart) at(index uint64) (p *grid.Product, rest uint64, its *partOfProduct) {
	k := h.all.grid.ProductOf(index)
	p = &h.all.grid.Products()[k]
	return p, index - p.Offset, &h.products[k]
}

// firsts counts those points of a walk whose digits are all among the first values of their dimensions.
type firsts struct {
	of *walk
	// in has, for each digit, how many of its values at the first places of the walk are in the part.
	in [][]uint64
	// behind is digit.behind for the part, and met what walk.below is.
	behind []uint64
	met    []uint32
}

// newFirsts returns the part of a walk. kept is, by dimension of the product, how many values the part has.
func newFirsts(w *walk, kept []uint64) *firsts {
	p := &firsts{of: w, in: make([][]uint64, len(w.digits)), behind: make([]uint64, len(w.digits)), met: slices.Clone(w.below)}
	behind := uint64(1)
	for i := len(w.digits) - 1; i >= 0; i-- {
		d := &w.digits[i]
		p.in[i] = make([]uint64, d.size+1)
		for place := range d.size {
			p.in[i][place+1] = p.in[i][place]
			if d.value(place) < kept[d.position] {
				p.in[i][place+1]++
			}
		}
		if p.behind[i] = behind; !d.tested {
			behind *= kept[d.position]
		}
	}
	for number := range len(w.below) - 1 {
		is, rest := w.below[number+1]-w.below[number], uint64(number)
		for i := len(w.digits) - 1; i >= 0; i-- {
			if d := &w.digits[i]; d.tested {
				if !p.has(i, rest%d.size) {
					is = 0
				}
				rest /= d.size
			}
		}
		p.met[number+1] = p.met[number] + is
	}
	return p
}

// has says whether the value at a place of a digit is in the part.
func (p *firsts) has(digit int, place uint64) bool { return p.in[digit][place+1] > p.in[digit][place] }

// rank returns how many points of the part are before a point of the walk, and whether it is one itself.
func (p *firsts) rank(rest uint64) (rank uint64, ok bool) {
	low, width := uint64(0), uint64(len(p.met)-1)
	met := func(low, high uint64) uint64 { return uint64(p.met[high] - p.met[low]) }
	for i := range p.of.digits {
		d := &p.of.digits[i]
		place := d.place(rest / d.weight % d.size)
		if !d.tested {
			rank += p.in[i][place] * p.behind[i] * met(low, low+width)
			if !p.has(i, place) {
				return rank, false
			}
			continue
		}
		width /= d.size
		rank += met(low, low+place*width) * p.behind[i]
		low += place * width
	}
	return rank, met(low, low+1) == 1
}

// below returns how many of the first n points of the walk are in the part.
func (p *firsts) below(n uint64) uint64 {
	if n == 0 {
		return 0
	}
	rank, is := p.rank(p.of.at(n - 1))
	if is {
		rank++
	}
	return rank
}
