package lattice

import (
	"cmp"
	"container/heap"
	"iter"
	"math"
	"slices"
	"sort"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// Level is one of the numbers that trials are ordered by: it depends on the value of one parameter alone.
type Level struct {
	Parameter string
	Order     func(point *trellisv1.Parameters) uint64
}

// Place is where a trial is: its index, the place of its run, and which of the run's milestones it has.
type Place struct {
	Index          uint64
	Run, Milestone uint32
}

// InOrder returns the trials in the order of the levels, the first of which decides most, and then of their indexes. It
// begins after a position: a number for each level, and an index. None is before all.
//
// It takes time for the axes of the levels, and for each trial that is looked at. Where a budget, or where, leaves most
// points out, it sorts all that remain.
func (l *Lattice) InOrder(levels []Level, after []uint64) iter.Seq[Place] {
	if l.earlier != nil {
		return l.inOrder(levels, after)
	}
	return l.ownInOrder(l.ordered(levels), after, l)
}

// inOrder is InOrder of a lattice after extensions: it merges the orders of all grids.
func (l *Lattice) inOrder(levels []Level, after []uint64) iter.Seq[Place] {
	return func(yield func(Place) bool) {
		var queues []*queue
		for its := l; ; its = its.earlier.Lattice {
			q := &queue{order: its.ordered(levels), position: make([]uint64, len(levels)+1)}
			next, stop := iter.Pull(its.ownInOrder(q.order, after, l))
			defer stop()
			if q.next = next; q.advance() {
				queues = append(queues, q)
			}
			if its.earlier == nil {
				break
			}
		}
		for len(queues) > 0 {
			first := slices.MinFunc(queues, func(a, b *queue) int { return slices.Compare(a.position, b.position) })
			if !yield(first.head) {
				return
			}
			if !first.advance() {
				queues = slices.DeleteFunc(queues, func(q *queue) bool { return q == first })
			}
		}
	}
}

// queue has the trials of a grid in order: the first of those that are left, and its position.
type queue struct {
	order    *ordered
	next     func() (Place, bool)
	head     Place
	position []uint64
}

func (q *queue) advance() (more bool) {
	if q.head, more = q.next(); more {
		q.order.locate(q.head.Index, q.position)
	}
	return more
}

// ownInOrder returns the trials of the grid itself, whose order is given, as the study has them: all of it.
func (l *Lattice) ownInOrder(o *ordered, after []uint64, all *Lattice) iter.Seq[Place] {
	return func(yield func(Place) bool) {
		found := func(index uint64) bool {
			place, milestone, ok := all.Find(index)
			return !ok || yield(Place{index, place, milestone})
		}
		if l.sparse {
			o.sorted(l.kept(), after, found)
			return
		}
		parts := make([]part, len(o.products))
		for k := range parts {
			parts[k] = part{product: &o.products[k]}
		}
		o.visit(0, parts, after, found)
	}
}

// Disjoint says whether the parameters of every trial are those of the point with its index. Where grids of a union
// overlap, they are those of the run's first trial, which may have a parameter at its default where the other point
// does not have it.
func (l *Lattice) Disjoint() bool {
	_, ok := l.runs.(*computed)
	return (ok || len(l.grid.Products()) == 1) && (l.earlier == nil || l.earlier.Disjoint())
}

// TrialsAt returns the first point of the run at a place, and the milestones and indexes of its trials. It does not
// compute the run's id.
func (l *Lattice) TrialsAt(place uint32) (point *trellisv1.Parameters, milestones []uint32, indexes []uint64) {
	point = &trellisv1.Parameters{}
	milestones, indexes = l.ReadTrialsAt(place, point)
	return point, milestones, indexes
}

// ReadTrialsAt is TrialsAt with a point of the caller's, which it replaces: see grid.Grid.Read.
func (l *Lattice) ReadTrialsAt(place uint32, point *trellisv1.Parameters) (milestones []uint32, indexes []uint64) {
	milestones, indexes = l.Milestones(place)
	l.readPoint(slices.Min(indexes), point)
	return milestones, indexes
}

// ordered is a grid whose points are ordered by some of its axes.
type ordered struct {
	grid *grid.Grid
	// first is the index of the grid's first point.
	first    uint64
	products []orderedProduct
	levels   int
}

type orderedProduct struct {
	offset uint64
	// levels are the axes of the levels; others are the other axes, the slowest first.
	levels, others []orderedAxis
	// points is how many points have the same values on the axes of the levels.
	points uint64
}

// orderedAxis is an axis, or the absence of one. Values that are next to each other on it are weight apart in the
// index.
type orderedAxis struct {
	size, weight uint64
	// orders has the number that each value is ordered by.
	orders []uint64
	// before says that the axis is that of an earlier level.
	before bool
}

// part are the points of a product that agree on some axes: rest is the sum of these axes' weights.
type part struct {
	product *orderedProduct
	order   uint64
	rest    uint64
}

func (l *Lattice) ordered(levels []Level) *ordered {
	o := &ordered{grid: l.grid, first: l.first(), levels: len(levels), products: make([]orderedProduct, len(l.grid.Products()))}
	point := &trellisv1.Parameters{}
	for k := range o.products {
		of := &l.grid.Products()[k]
		p := &o.products[k]
		p.offset, p.points = l.first()+of.Offset, 1
		p.levels = make([]orderedAxis, len(levels))
		for level := range p.levels {
			p.levels[level] = orderedAxis{size: 1}
		}
		weight := uint64(1)
		for i := len(of.Dimensions) - 1; i >= 0; i-- {
			d := &of.Dimensions[i]
			axis, taken := orderedAxis{size: d.Size(), weight: weight}, false
			for level := range levels {
				if levels[level].Parameter == d.Name {
					p.levels[level] = axis
					p.levels[level].before = taken
					taken = true
				}
			}
			if !taken {
				p.others = append(p.others, axis)
				p.points *= d.Size()
			}
			weight *= d.Size()
		}
		slices.Reverse(p.others)
		for level := range levels {
			axis := &p.levels[level]
			axis.orders = make([]uint64, axis.size)
			for digit := range axis.size {
				l.grid.Read(of.Offset+digit*axis.weight, point)
				axis.orders[digit] = levels[level].Order(point)
			}
		}
	}
	return o
}

// visit passes on the indexes of the points of parts after a position, in order, of which the first levels are equal.
func (o *ordered) visit(level int, parts []part, after []uint64, yield func(index uint64) bool) bool {
	if level == o.levels {
		return visitPoints(parts, after, yield)
	}
	var all []part
	for _, p := range parts {
		axis := &p.product.levels[level]
		if axis.before {
			all = append(all, part{p.product, axis.orders[p.rest/axis.weight%axis.size], p.rest})
			continue
		}
		for digit, order := range axis.orders {
			if after == nil || order >= after[level] {
				all = append(all, part{p.product, order, p.rest + uint64(digit)*axis.weight})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b part) int { return cmp.Compare(a.order, b.order) })
	for len(all) > 0 {
		n := sort.Search(len(all), func(i int) bool { return all[i].order > all[0].order })
		from := after
		switch {
		case after == nil:
		case all[0].order < after[level]:
			all = all[n:]
			continue
		case all[0].order > after[level]:
			from = nil
		}
		if !o.visit(level+1, all[:n:n], from, yield) {
			return false
		}
		all = all[n:]
	}
	return true
}

// visitPoints passes on the indexes of the points of parts after a position, ascending.
func visitPoints(parts []part, after []uint64, yield func(index uint64) bool) bool {
	next := make([]uint64, len(parts))
	if after != nil {
		last := after[len(after)-1]
		for i := range parts {
			next[i] = uint64(sort.Search(int(parts[i].product.points), func(n int) bool { return parts[i].at(uint64(n)) > last }))
		}
	}
	for {
		first, index := -1, uint64(math.MaxUint64)
		for i := range parts {
			if next[i] == parts[i].product.points {
				continue
			}
			if at := parts[i].at(next[i]); first < 0 || at < index {
				first, index = i, at
			}
		}
		if first < 0 {
			return true
		}
		next[first]++
		if !yield(index) {
			return false
		}
	}
}

// at returns the index of a point of the part by its number. Indexes ascend.
func (p *part) at(number uint64) (index uint64) {
	index = p.product.offset + p.rest
	for i := len(p.product.others) - 1; i >= 0; i-- {
		axis := &p.product.others[i]
		index += number % axis.size * axis.weight
		number /= axis.size
	}
	return index
}

// sorted passes on those of the indexes that are after a position, in order.
func (o *ordered) sorted(indexes, after []uint64, yield func(index uint64) bool) {
	width := o.levels + 1
	h := &positions{width: width, all: make([]uint64, 0, len(indexes)*width)}
	position := make([]uint64, width)
	for _, index := range indexes {
		o.locate(index, position)
		if after == nil || slices.Compare(position, after) > 0 {
			h.all = append(h.all, position...)
		}
	}
	heap.Init(h)
	for h.Len() > 0 {
		if !yield(h.all[o.levels]) {
			return
		}
		h.Swap(0, h.Len()-1)
		h.all = h.all[:len(h.all)-width]
		if h.Len() > 0 {
			heap.Fix(h, 0)
		}
	}
}

// locate puts the position of the point with an index into an array.
func (o *ordered) locate(index uint64, position []uint64) {
	p := &o.products[o.grid.ProductOf(index-o.first)]
	for level := range p.levels {
		axis := &p.levels[level]
		position[level] = axis.orders[0]
		if axis.weight > 0 {
			position[level] = axis.orders[(index-p.offset)/axis.weight%axis.size]
		}
	}
	position[o.levels] = index
}

// positions is a heap of positions, which are width numbers each.
type positions struct {
	width int
	all   []uint64
}

func (h *positions) at(i int) []uint64 { return h.all[i*h.width : (i+1)*h.width] }

// Len, Less, Swap, Push and Pop implement heap.Interface. The last two are never called.
func (h *positions) Len() int           { return len(h.all) / h.width }
func (h *positions) Less(i, j int) bool { return slices.Compare(h.at(i), h.at(j)) < 0 }

func (h *positions) Swap(i, j int) {
	for k := range h.width {
		h.all[i*h.width+k], h.all[j*h.width+k] = h.all[j*h.width+k], h.all[i*h.width+k]
	}
}

func (h *positions) Push(any) {}
func (h *positions) Pop() any { return nil }

// Before returns the highest index of a trial below an index. ok is false if there is none.
func (l *Lattice) Before(index uint64) (_ uint64, ok bool) {
	if l.earlier != nil {
		return l.earlier.before(l, index)
	}
	return l.ownBefore(index)
}

// ownBefore is Before without earlier grids.
func (l *Lattice) ownBefore(index uint64) (_ uint64, ok bool) {
	if l.sparse {
		kept := l.kept()
		at, _ := slices.BinarySearch(kept, index)
		if at == 0 {
			return 0, false
		}
		return kept[at-1], true
	}
	for index = min(index, l.grid.Size()); index > 0; {
		index--
		if _, _, ok := l.runs.find(index); ok {
			return index, true
		}
	}
	return 0, false
}
