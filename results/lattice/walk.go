package lattice

import (
	"sort"

	"trellis/results/grid"
)

// walk numbers those points of a product, or of some of its dimensions, that the study's where does not leave out, in
// the order of its digits. The other dimensions stay at their first value.
type walk struct {
	digits []digit
	// below has, for each combination of the tested digits in the order of the walk, and one more, how many of those
	// before it are met.
	below []uint32
}

// digit is a dimension of a walk.
type digit struct {
	// position is that of the dimension in the product.
	position     int
	size, weight uint64
	// values are the dimension's digits in the order of the walk, and places their inverse; nil if it is the same.
	values, places []uint32
	// tested says that where depends on it, and behind is how many combinations the untested digits behind it have.
	tested bool
	behind uint64
}

// newWalk returns a walk over the dimensions at positions of a product, the slowest first. met is Grid.Met of the
// product.
func newWalk(p *grid.Product, positions []int, met []bool) *walk {
	w := &walk{digits: make([]digit, len(positions))}
	weights := make([]uint64, len(p.Dimensions))
	weight := uint64(1)
	for i := len(weights) - 1; i >= 0; i-- {
		weights[i] = weight
		weight *= p.Dimensions[i].Size()
	}
	behind := uint64(1)
	for i := len(positions) - 1; i >= 0; i-- {
		d := &p.Dimensions[positions[i]]
		w.digits[i] = digit{
			position: positions[i], size: d.Size(), weight: weights[positions[i]],
			tested: met != nil && p.Tests(d.Name), behind: behind,
		}
		if !w.digits[i].tested {
			behind *= d.Size()
		}
	}
	return w
}

// reorder makes the digits of the walk's first dimension come in another order.
func (w *walk) reorder(values []uint32) {
	first := &w.digits[0]
	first.values, first.places = values, make([]uint32, len(values))
	for place, value := range values {
		first.places[value] = uint32(place)
	}
}

// count counts the combinations that are met. met is in the order of the product's dimensions.
func (w *walk) count(met []bool) {
	if met == nil {
		w.below = []uint32{0, 1}
		return
	}
	// stride is how far combinations are apart in met.
	strides := make([]uint64, len(w.digits))
	for i := range w.digits {
		strides[i] = 1
		for j := range w.digits {
			if w.digits[j].tested && w.digits[j].position > w.digits[i].position {
				strides[i] *= w.digits[j].size
			}
		}
	}
	w.below = make([]uint32, len(met)+1)
	for number := range met {
		from, rest := uint64(0), uint64(number)
		for i := len(w.digits) - 1; i >= 0; i-- {
			if d := &w.digits[i]; d.tested {
				from += d.value(rest%d.size) * strides[i]
				rest /= d.size
			}
		}
		w.below[number+1] = w.below[number]
		if met[from] {
			w.below[number+1]++
		}
	}
}

// value returns the dimension's digit at a place of the walk.
func (d *digit) value(place uint64) uint64 {
	if d.values == nil {
		return place
	}
	return uint64(d.values[place])
}

// place returns where a digit of the dimension stands in the walk.
func (d *digit) place(value uint64) uint64 {
	if d.places == nil {
		return value
	}
	return uint64(d.places[value])
}

// size returns how many points the walk has.
func (w *walk) size() uint64 {
	size := uint64(w.below[len(w.below)-1])
	for i := range w.digits {
		if !w.digits[i].tested {
			size *= w.digits[i].size
		}
	}
	return size
}

// rank returns how many points of the walk are before the one at a place in the product, and whether it is one itself.
func (w *walk) rank(rest uint64) (rank uint64, ok bool) {
	// The combinations from low on, so many as width, agree with the point in the digits so far.
	low, width := uint64(0), uint64(len(w.below)-1)
	for i := range w.digits {
		d := &w.digits[i]
		place := d.place(rest / d.weight % d.size)
		if !d.tested {
			rank += place * d.behind * w.met(low, low+width)
			continue
		}
		width /= d.size
		rank += w.met(low, low+place*width) * d.behind
		low += place * width
	}
	return rank, w.met(low, low+1) == 1
}

// at returns the place in the product of the point of this rank, which is below size.
func (w *walk) at(rank uint64) (rest uint64) {
	low, width := uint64(0), uint64(len(w.below)-1)
	for i := range w.digits {
		d := &w.digits[i]
		place := uint64(0)
		if !d.tested {
			each := d.behind * w.met(low, low+width)
			place = rank / each
			rank -= place * each
		} else {
			width /= d.size
			wanted := rank / d.behind
			place = uint64(sort.Search(int(d.size), func(v int) bool {
				return w.met(low, low+uint64(v+1)*width) > wanted
			}))
			rank -= w.met(low, low+place*width) * d.behind
			low += place * width
		}
		rest += d.value(place) * d.weight
	}
	return rest
}

// met returns how many combinations are met from low on, below high.
func (w *walk) met(low, high uint64) uint64 { return uint64(w.below[high] - w.below[low]) }
