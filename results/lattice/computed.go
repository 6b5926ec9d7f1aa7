package lattice

import (
	"cmp"
	"slices"
	"sort"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// computed are runs whose ranks follow from their digits: no two products have any in common.
type computed struct {
	grid     *grid.Grid
	products []product
	// segments are the runs in the order of their ranks.
	segments []segment
	all      amount
}

// product is a grid of the union.
type product struct {
	offset uint64
	// epochs is the dimension max_epochs, and weight how far points are apart in the index that differ by one there.
	epochs *grid.Dimension
	weight uint64
	// milestones are its values, ascending, digits where they stand on it, and order the inverse of these.
	milestones []uint32
	digits     []uint64
	order      []uint32
	// runs numbers the runs, and points all points in the order of their indices.
	runs, points *walk
	// segments are the positions of those of the product, in the order of runs.
	segments []int
}

// segment is a part of the runs of a product that follow each other in the order of ranks.
type segment struct {
	product int
	// start is the number of the first in product.runs, and base its rank; n is how many there are.
	start, base, n uint64
	// each is what every one of them is. Without runs, they differ.
	each amount
}

func newComputed(g *grid.Grid, order trellisv1.Order) *computed {
	c := &computed{grid: g, products: make([]product, len(g.Products()))}
	// The longest first is an order of the axis max_epochs, if it tells runs apart.
	byLength := order == trellisv1.Order_ORDER_UNSPECIFIED || order == trellisv1.Order_ORDER_LONGEST
	for k := range c.products {
		met := g.Met(k)
		c.products[k] = newProduct(g, k, met)
		p := &c.products[k]
		segments := []segment{{product: k, n: p.runs.size(), each: amountOf(p.milestones)}}
		if g.RunsApart() {
			natural := p.runs
			p.runs = newLongestFirst(g, k, p, met)
			if segments = p.byLength(k); !byLength {
				segments = c.joined(segments)
				p.runs = natural
			}
		}
		c.segments = append(c.segments, segments...)
	}
	c.segments = slices.DeleteFunc(c.segments, func(s segment) bool { return s.n == 0 })
	if byLength {
		slices.SortStableFunc(c.segments, func(a, b segment) int { return cmp.Compare(b.each.longest, a.each.longest) })
	}
	base := uint64(0)
	for i := range c.segments {
		s := &c.segments[i]
		s.base = base
		base += s.n
		c.products[s.product].segments = append(c.products[s.product].segments, i)
		if s.each.runs > 0 {
			c.all.add(s.n, s.each)
		}
	}
	return c
}

// newProduct reads a product. Its runs are in the order in which they are written.
func newProduct(g *grid.Grid, k int, met []bool) product {
	of := &g.Products()[k]
	p := product{offset: of.Offset}
	var all, runs []int
	behind := uint64(1)
	for i := len(of.Dimensions) - 1; i >= 0; i-- {
		d := &of.Dimensions[i]
		if all = append(all, i); d.Name == grid.MaxEpochs {
			p.epochs, p.weight = d, behind
		}
		if d.Name != grid.MaxEpochs || g.RunsApart() {
			runs = append(runs, i)
		}
		behind *= d.Size()
	}
	slices.Reverse(all)
	slices.Reverse(runs)
	p.order = make([]uint32, p.epochs.Size())
	for digit := range p.epochs.Size() {
		p.digits = append(p.digits, digit)
	}
	slices.SortFunc(p.digits, func(a, b uint64) int { return cmp.Compare(p.epochs.Epochs(a), p.epochs.Epochs(b)) })
	for i, digit := range p.digits {
		p.milestones = append(p.milestones, p.epochs.Epochs(digit))
		p.order[digit] = uint32(i)
	}
	p.points = newWalk(of, all, met)
	p.points.count(met)
	p.runs = newWalk(of, runs, met)
	p.runs.below = p.points.below // where does not depend on what tells points of a run apart.
	return p
}

// newLongestFirst numbers the points of a product by their max_epochs, the longest first, and then as they are written.
func newLongestFirst(g *grid.Grid, k int, p *product, met []bool) *walk {
	of := &g.Products()[k]
	var positions []int
	for i := range of.Dimensions {
		if of.Dimensions[i].Name == grid.MaxEpochs {
			positions = slices.Insert(positions, 0, i)
		} else {
			positions = append(positions, i)
		}
	}
	w := newWalk(of, positions, met)
	longestFirst := make([]uint32, len(p.digits))
	for i, digit := range p.digits {
		longestFirst[len(longestFirst)-1-i] = uint32(digit)
	}
	w.reorder(longestFirst)
	w.count(met)
	return w
}

// byLength are the runs of a product, whose runs are the longest first, by max_epochs.
func (p *product) byLength(k int) []segment {
	segments, start := make([]segment, len(p.digits)), uint64(0)
	for i := range segments {
		end := p.runs.size()
		if i+1 < len(segments) {
			end, _ = p.runs.rank(p.runs.digits[0].value(uint64(i+1)) * p.weight)
		}
		longest := p.milestones[len(segments)-1-i]
		segments[i] = segment{product: k, start: start, n: end - start, each: amountOf([]uint32{longest})}
		start = end
	}
	return segments
}

// joined is one segment of all runs of a product. What they are together is noted, unless all are equal.
func (c *computed) joined(segments []segment) []segment {
	if len(segments) == 1 {
		return segments
	}
	all := segment{product: segments[0].product}
	for _, s := range segments {
		c.all.add(s.n, s.each)
		all.n += s.n
	}
	return []segment{all}
}

// at returns the product of the run of a rank, and where its first point is.
func (c *computed) at(rank uint64) (p *product, rest uint64) {
	s := c.segmentOf(rank)
	p = &c.products[s.product]
	return p, p.runs.at(s.start + rank - s.base)
}

// segmentOf returns the segment of the run of a rank.
func (c *computed) segmentOf(rank uint64) *segment {
	return &c.segments[sort.Search(len(c.segments), func(i int) bool { return c.segments[i].base > rank })-1]
}

func (c *computed) trials(rank uint64) (milestones []uint32, indexes []uint64) {
	p, rest := c.at(rank)
	if c.grid.RunsApart() {
		return []uint32{p.epochs.Epochs(rest / p.weight % p.epochs.Size())}, []uint64{p.offset + rest}
	}
	indexes = make([]uint64, len(p.digits))
	for i, digit := range p.digits {
		indexes[i] = p.offset + rest + digit*p.weight
	}
	return slices.Clone(p.milestones), indexes
}

func (c *computed) find(index uint64) (rank uint64, milestone uint32, ok bool) {
	k := c.grid.ProductOf(index)
	p := &c.products[k]
	rest := index - p.offset
	if !c.grid.RunsApart() {
		digit := rest / p.weight % p.epochs.Size()
		rest -= digit * p.weight
		milestone = p.order[digit]
	}
	rank, ok = c.rank(k, rest)
	return rank, milestone, ok
}

func (c *computed) rank(k int, rest uint64) (rank uint64, ok bool) {
	p := &c.products[k]
	number, ok := p.runs.rank(rest)
	if !ok {
		return 0, false
	}
	i := sort.Search(len(p.segments), func(i int) bool { return c.segments[p.segments[i]].start > number }) - 1
	s := &c.segments[p.segments[i]]
	return s.base + number - s.start, true
}

func (c *computed) from(index uint64) (uint64, bool) {
	for k := c.grid.ProductOf(index); k < len(c.products); k++ {
		p := &c.products[k]
		number := uint64(0)
		if index > p.offset {
			number, _ = p.points.rank(index - p.offset)
		}
		if number < p.points.size() {
			return p.offset + p.points.at(number), true
		}
	}
	return 0, false
}

func (c *computed) stretches() (equal []stretch, all amount) {
	for _, s := range c.segments {
		if s.each.runs == 0 {
			return nil, c.all
		}
		if n := len(equal); n > 0 && equal[n-1].each == s.each {
			equal[n-1].n += s.n
		} else {
			equal = append(equal, stretch{s.n, s.each})
		}
	}
	return equal, c.all
}
