package latent

import (
	"math"
	"math/bits"
)

const (
	// cellBits is how often the embedding's square is halved at most: it resolves a millionth of its side.
	cellBits = 20
	// cellLeaf is how many points a cell has at most that is not divided.
	cellLeaf = 8
	// digitBits is what the radix sort takes at a time. It divides 2 cellBits and 3 cellBits.
	digitBits = 10
)

// cellTree is the quadtree of an embedding in two dimensions, the octree in three: arrays that are filled anew for
// every iteration, with no allocation.
//
// Points are in Morton order, so that each cell's are next to each other. Cells are in the order of a walk that visits
// a cell before its parts: the first part of a cell follows it, and next is where to go on without them. A cell that
// would have one part only is left out.
type cellTree struct {
	dim int
	// order has the points' numbers in Morton order, sorted their coordinates.
	order  []int32
	sorted []float64
	// keys are Morton codes, in Morton order. The spare arrays are for sorting.
	keys, spareKeys []uint64
	spareOrder      []int32
	cells           []cell
	// inverseTheta2 is 1 / theta^2; infinite if cells never stand for their points.
	inverseTheta2 float64
}

// cell stands for the points in a square or cube of the embedding.
type cell struct {
	// center is the mean of its points; mass is how many they are.
	center [3]float64
	mass   float64
	// reach is the squared distance from the center beyond which the cell stands for its points: the square of
	// r_cell / theta. -1 if it always does, because its points coincide.
	reach float64
	// next is the cell to go on with after this and its parts.
	next int32
	// first and last-1 are its first and last point in Morton order.
	first, last int32
	leaf        bool
}

// extent is what cells pass up: the sum of their points' coordinates and the smallest box around them.
type extent struct{ sum, low, high [3]float64 }

func newCellTree(n, dim int, theta float64) *cellTree {
	t := &cellTree{
		dim: dim, order: make([]int32, n), sorted: make([]float64, n*dim),
		keys: make([]uint64, n), spareKeys: make([]uint64, n), spareOrder: make([]int32, n),
		// Every cell but a leaf has two parts or more, and every leaf a point or more.
		cells: make([]cell, 0, 2*n), inverseTheta2: math.Inf(1),
	}
	if theta > 0 {
		t.inverseTheta2 = 1 / float64(theta*theta)
	}
	return t
}

// build makes the tree of an embedding: rows of dim finite coordinates.
func (t *cellTree) build(embedding []float64) {
	t.encode(embedding)
	t.sort()
	for place, i := range t.order {
		copy(t.sorted[place*t.dim:(place+1)*t.dim], embedding[int(i)*t.dim:])
	}
	t.cells = t.cells[:0]
	t.add(0, len(t.order))
}

// encode sets keys to the points' Morton codes: the bits of their coordinates in the embedding's square, the highest
// first, by turns.
func (t *cellTree) encode(embedding []float64) {
	var low [3]float64
	side := 0.0
	for d := range t.dim {
		least, most := embedding[d], embedding[d]
		for i := d; i < len(embedding); i += t.dim {
			least, most = min(least, embedding[i]), max(most, embedding[i])
		}
		low[d] = least
		side = max(side, most-least)
	}
	scale := 0.0
	// A side whose reciprocal overflows is as good as none: the points share a cell.
	if s := (1<<cellBits - 1) / side; side > 0 && !math.IsInf(s, 1) {
		scale = s
	}
	for i := range t.keys {
		var key uint64
		for d := range t.dim {
			x := min(uint64(float64((embedding[i*t.dim+d]-low[d])*scale)), 1<<cellBits-1)
			if t.dim == 2 {
				key |= spread2(x) << d
			} else {
				key |= spread3(x) << d
			}
		}
		t.keys[i] = key
		t.order[i] = int32(i)
	}
}

// spread2 puts a zero between the bits of x < 2^32.
func spread2(x uint64) uint64 {
	x = (x | x<<16) & 0x0000ffff0000ffff
	x = (x | x<<8) & 0x00ff00ff00ff00ff
	x = (x | x<<4) & 0x0f0f0f0f0f0f0f0f
	x = (x | x<<2) & 0x3333333333333333
	return (x | x<<1) & 0x5555555555555555
}

// spread3 puts two zeros between the bits of x < 2^21.
func spread3(x uint64) uint64 {
	x = (x | x<<32) & 0x001f00000000ffff
	x = (x | x<<16) & 0x001f0000ff0000ff
	x = (x | x<<8) & 0x100f00f00f00f00f
	x = (x | x<<4) & 0x10c30c30c30c30c3
	return (x | x<<2) & 0x1249249249249249
}

// sort orders keys and order by key, equal ones by point.
func (t *cellTree) sort() {
	for shift := 0; shift < t.dim*cellBits; shift += digitBits {
		var place [1 << digitBits]int32
		for _, key := range t.keys {
			place[key>>shift&(1<<digitBits-1)]++
		}
		var before int32
		for digit, count := range place {
			place[digit] = before
			before += count
		}
		for i, key := range t.keys {
			p := &place[key>>shift&(1<<digitBits-1)]
			t.spareKeys[*p], t.spareOrder[*p] = key, t.order[i]
			*p++
		}
		t.keys, t.spareKeys = t.spareKeys, t.keys
		t.order, t.spareOrder = t.spareOrder, t.order
	}
}

// add appends the cell of the points from first to last, with its parts, and returns how far they extend: by value,
// because what a recursive function is given a pointer to is allocated.
func (t *cellTree) add(first, last int) (e extent) {
	index := len(t.cells)
	t.cells = append(t.cells, cell{first: int32(first), last: int32(last)})
	differing := t.keys[first] ^ t.keys[last-1]
	leaf := last-first <= cellLeaf || differing == 0
	if leaf {
		e = t.measure(first, last)
	} else {
		// Of the cells with all these points, the smallest is divided.
		shift := (bits.Len64(differing) - 1) / t.dim * t.dim
		for from := first; from < last; {
			to := t.end(from, last, shift)
			part := t.add(from, to)
			if from == first {
				e = part
			} else {
				e.join(&part, t.dim)
			}
			from = to
		}
	}
	c := &t.cells[index]
	c.leaf = leaf
	c.next = int32(len(t.cells))
	c.mass = float64(last - first)
	var diagonal2 float64
	for d := range t.dim {
		c.center[d] = e.sum[d] / c.mass
		side := e.high[d] - e.low[d]
		diagonal2 += float64(side * side)
	}
	if diagonal2 > 0 {
		c.reach = float64(diagonal2 * t.inverseTheta2)
		return e
	}
	c.reach = -1
	copy(c.center[:], t.sorted[first*t.dim:(first+1)*t.dim])
	return e
}

// end returns the end of the points from first on whose keys agree with the first's down to the bit shift.
func (t *cellTree) end(first, last, shift int) int {
	part := t.keys[first] >> shift
	low, high := first+1, last
	for low < high {
		middle := (low + high) / 2
		if t.keys[middle]>>shift == part {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

func (t *cellTree) measure(first, last int) (e extent) {
	copy(e.sum[:], t.sorted[first*t.dim:(first+1)*t.dim])
	e.low, e.high = e.sum, e.sum
	for place := first + 1; place < last; place++ {
		for d := range t.dim {
			v := t.sorted[place*t.dim+d]
			e.sum[d] += v
			e.low[d], e.high[d] = min(e.low[d], v), max(e.high[d], v)
		}
	}
	return e
}

func (e *extent) join(part *extent, dim int) {
	for d := range dim {
		e.sum[d] += part.sum[d]
		e.low[d], e.high[d] = min(e.low[d], part.low[d]), max(e.high[d], part.high[d])
	}
}
