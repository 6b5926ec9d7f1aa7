package selection

import (
	"math/bits"
	"sort"

	"trellis/results/columns"
	"trellis/results/lattice"
)

func trailing(word uint64) int { return bits.TrailingZeros64(word) }

func ones(word uint64) uint64 { return uint64(bits.OnesCount64(word)) }

// points says how the parameters of trials follow from their indexes.
type points struct {
	lattice  *lattice.Lattice
	products []product
}

// product is a grid of a union.
type product struct {
	// from is the index of the first point, and to that after the last one.
	from, to uint64
	axes     []axis
}

// axis is a parameter: its value of a point is the one at (index - from) / weight % size.
type axis struct {
	name         string
	size, weight uint64
}

func (a axis) at(rest uint64) uint64 { return rest / a.weight % a.size }

func newPoints(l *lattice.Lattice) *points {
	p := &points{lattice: l}
	for _, placed := range l.Grids() {
		g := placed.Of.Grid()
		for k := range g.Products() {
			of := &g.Products()[k]
			its := product{from: placed.First + of.Offset, axes: make([]axis, len(of.Dimensions))}
			weight := uint64(1)
			for i := len(of.Dimensions) - 1; i >= 0; i-- {
				d := &of.Dimensions[i]
				its.axes[i] = axis{d.Name, d.Size(), weight}
				weight *= d.Size()
			}
			its.to = its.from + weight
			p.products = append(p.products, its)
		}
	}
	return p
}

// find returns the position of the product of an index.
func (p *points) find(index uint64) int {
	if len(p.products) == 1 {
		return 0
	}
	return sort.Search(len(p.products), func(k int) bool { return p.products[k].from > index }) - 1
}

// rows are the trials that are decided about at once.
type rows struct {
	indexes []uint64
	columns *columns.Columns
	// lowest and highest are those of the indexes.
	lowest, highest uint64
	// product is that of all of them, or -1 if they are of several.
	product int
	// free are the bits that were taken before, and taken how many are now.
	free  []Bits
	taken int
}

// begin makes the rows ready, once they have indexes.
func (r *rows) begin(p *points) {
	r.taken = 0
	if len(r.indexes) == 0 {
		return
	}
	r.lowest, r.highest = r.indexes[0], r.indexes[0]
	for _, index := range r.indexes {
		r.lowest, r.highest = min(r.lowest, index), max(r.highest, index)
	}
	if r.product = p.find(r.lowest); r.highest >= p.products[r.product].to {
		r.product = -1
	}
}

// take returns bits of all rows, none of which is set.
func (r *rows) take() Bits {
	words := (len(r.indexes) + 63) / 64
	if r.taken == len(r.free) {
		r.free = append(r.free, nil)
	}
	b := r.free[r.taken]
	if cap(b) < words {
		b = make(Bits, words)
	}
	b = b[:words]
	clear(b)
	r.free[r.taken] = b
	r.taken++
	return b
}
