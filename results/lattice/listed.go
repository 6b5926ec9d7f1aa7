package lattice

import (
	"bytes"
	"cmp"
	"math/bits"
	"slices"
	"sort"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// listed are runs that are found by looking at all points, of which there are at most grid.MaxTrials.
//
// Every product has a slot for each combination of values without max_epochs. The first product that has the
// combination of a run has the run's own slot.
type listed struct {
	grid     *grid.Grid
	products []slotted
	// common says which products may have runs in common, and have the same parameters.
	common [][]bool
	// isTrial has a bit for each index.
	isTrial []uint64
	// slots has each run's own slot, by rank, and ranks the rank of each slot's run, or noRank.
	slots, ranks []uint32
	all          amount
}

const noRank = ^uint32(0)

// slotted is a grid of the union.
type slotted struct {
	*grid.Product
	// first is the first slot, and size the number of points.
	first uint32
	size  uint64
	// epochs is the position of the dimension max_epochs, and weight how far points are apart in the index that differ
	// by one there. Of a run, so many points follow each other at that distance: 1 if runs are apart.
	epochs       int
	weight, many uint64
}

// slot returns the slot of a point's run.
func (s *slotted) slot(rest uint64) uint32 {
	return s.first + uint32(rest/(s.weight*s.many)*s.weight+rest%s.weight)
}

// rest returns where the first point of the run of a slot is.
func (s *slotted) rest(slot uint32) uint64 {
	number := uint64(slot - s.first)
	return number/s.weight*s.weight*s.many + number%s.weight
}

// ended is a run as the order compares it.
type ended struct {
	longest, slot uint32
	first         uint64
}

// idsOf is Lattice.idsOf.
type idsOf func(n int, indexOf func(i int) uint64, take func(i int, id string))

func newListed(g *grid.Grid, spec *trellisv1.StudySpec, idsOf idsOf) *listed {
	l := &listed{grid: g, common: g.CommonRuns(), isTrial: make([]uint64, (g.Size()+63)/64)}
	slots := l.divide()
	for k := range l.products {
		for j := range k {
			if l.common[k][j] = l.common[k][j] && sameNames(&l.products[k], &l.products[j]); !l.common[k][j] {
				l.common[j][k] = false
			}
		}
	}
	for k := range l.products {
		l.mark(k)
	}
	l.ranks = slices.Repeat([]uint32{noRank}, int(slots))
	runs := l.collect()
	l.sort(runs, spec, idsOf)
	l.slots = make([]uint32, len(runs))
	for rank, run := range runs {
		l.slots[rank] = run.slot
		l.ranks[run.slot] = uint32(rank)
	}
	// The slots that are not a run's own have its rank too.
	for k := range l.products {
		for slot := l.products[k].first; slot < l.products[k].end(); slot++ {
			if own := l.own(k, slot); own != slot {
				l.ranks[slot] = l.ranks[own]
			}
		}
	}
	return l
}

// divide gives the products their slots, and returns how many there are.
func (l *listed) divide() (slots uint32) {
	products := l.grid.Products()
	l.products = make([]slotted, len(products))
	for k := range products {
		s := slotted{Product: &products[k], first: slots, size: 1, many: 1}
		for i := len(s.Dimensions) - 1; i >= 0; i-- {
			d := &s.Dimensions[i]
			if d.Name == grid.MaxEpochs {
				if s.epochs, s.weight = i, s.size; !l.grid.RunsApart() {
					s.many = d.Size()
				}
			}
			s.size *= d.Size()
		}
		slots += uint32(s.size / s.many)
		l.products[k] = s
	}
	return slots
}

func sameNames(a, b *slotted) bool {
	return slices.EqualFunc(a.Dimensions, b.Dimensions, func(a, b grid.Dimension) bool { return a.Name == b.Name })
}

// end is the first slot after those of the product.
func (s *slotted) end() uint32 { return s.first + uint32(s.size/s.many) }

// in returns where another product has the run at a place in product k.
func (l *listed) in(k int, rest uint64, other int) (at uint64, ok bool) {
	if !l.common[k][other] {
		return 0, false
	}
	from, to := &l.products[k], &l.products[other]
	weight := uint64(1)
	for i := len(from.Dimensions) - 1; i >= 0; i-- {
		d, its := &from.Dimensions[i], &to.Dimensions[i]
		if i != from.epochs || l.grid.RunsApart() {
			digit, ok := its.DigitOf(d.ID(rest % d.Size()))
			if !ok {
				return 0, false
			}
			at += digit * weight
		}
		weight *= its.Size()
		rest /= d.Size()
	}
	return at, true
}

// own returns the run's own slot for a slot in product k.
func (l *listed) own(k int, slot uint32) uint32 {
	for earlier := range k {
		if at, ok := l.in(k, l.products[k].rest(slot), earlier); ok {
			return l.products[earlier].slot(at)
		}
	}
	return slot
}

// mark notes which indices of product k are trials: where does not leave them out, and no earlier product has them.
func (l *listed) mark(k int) {
	met, s := l.grid.Met(k), &l.products[k]
	for slot := l.products[k].first; slot < l.products[k].end(); slot++ {
		first := s.rest(slot)
		for digit := range s.many {
			rest := first + digit*s.weight
			if met == nil || met[s.Combination(rest)] {
				index := s.Offset + rest
				l.isTrial[index/64] |= 1 << (index % 64)
			}
		}
		for earlier := range k {
			if at, ok := l.in(k, first, earlier); ok {
				l.unmark(k, first, earlier, at)
			}
		}
	}
}

// unmark takes the points of a run in product k that an earlier product has too from the trials.
func (l *listed) unmark(k int, rest uint64, earlier int, at uint64) {
	s, its := &l.products[k], &l.products[earlier]
	for digit := range s.many {
		if !l.grid.RunsApart() {
			if _, ok := its.Dimensions[its.epochs].DigitOf(s.Dimensions[s.epochs].ID(digit)); !ok {
				continue
			}
		}
		index := s.Offset + rest + digit*s.weight
		l.isTrial[index/64] &^= 1 << (index % 64)
	}
}

// collect returns the runs that have trials.
func (l *listed) collect() (runs []ended) {
	var milestones []uint32
	var indexes []uint64
	runs = make([]ended, 0, l.products[len(l.products)-1].end())
	for k := range l.products {
		for slot := l.products[k].first; slot < l.products[k].end(); slot++ {
			if l.own(k, slot) != slot {
				continue
			}
			milestones, indexes = l.trialsOf(k, slot, milestones[:0], indexes[:0])
			if len(milestones) == 0 {
				continue
			}
			each := amountOf(milestones)
			l.all.add(1, each)
			runs = append(runs, ended{longest: each.longest, slot: slot, first: slices.Min(indexes)})
		}
	}
	return runs
}

// sort puts runs in the order of their ranks.
func (l *listed) sort(runs []ended, spec *trellisv1.StudySpec, idsOf idsOf) {
	byLength := func(a, b ended) int { return cmp.Compare(b.longest, a.longest) }
	asWritten := func(a, b ended) int { return cmp.Compare(a.first, b.first) }
	switch order := spec.GetOrder(); {
	case grid.OrderedByID(spec):
		indexOf := func(i int) uint64 { return runs[i].first }
		type identified struct {
			ended
			id [16]byte
		}
		all := make([]identified, len(runs))
		idsOf(len(runs), indexOf, func(i int, id string) { all[i] = identified{runs[i], idBytes(id)} })
		slices.SortFunc(all, func(a, b identified) int {
			return cmp.Or(byLength(a.ended, b.ended), bytes.Compare(a.id[:], b.id[:]))
		})
		for i := range all {
			runs[i] = all[i].ended
		}
	case order == trellisv1.Order_ORDER_UNSPECIFIED || order == trellisv1.Order_ORDER_LONGEST:
		slices.SortFunc(runs, func(a, b ended) int { return cmp.Or(byLength(a, b), asWritten(a, b)) })
	default:
		slices.SortFunc(runs, asWritten)
	}
}

// trialsOf appends the trials of the run whose own slot is in product k to lists of the caller's, which are empty.
func (l *listed) trialsOf(k int, slot uint32, milestones []uint32, indexes []uint64) ([]uint32, []uint64) {
	first := l.products[k].rest(slot)
	for j := k; j < len(l.products); j++ {
		s, at, ok := &l.products[j], first, true
		if j != k {
			at, ok = l.in(k, first, j)
		}
		if !ok {
			continue
		}
		axis := &s.Dimensions[s.epochs]
		for digit := range s.many {
			rest := at + digit*s.weight
			if index := s.Offset + rest; l.isTrial[index/64]>>(index%64)&1 == 1 {
				milestones = append(milestones, axis.Epochs(rest/s.weight%axis.Size()))
				indexes = append(indexes, index)
			}
		}
	}
	if !slices.IsSorted(milestones) {
		sortBoth(milestones, indexes)
	}
	return milestones, indexes
}

// sortBoth sorts milestones, and their indexes with them.
func sortBoth(milestones []uint32, indexes []uint64) {
	of := make(map[uint32]uint64, len(milestones))
	for i, milestone := range milestones {
		of[milestone] = indexes[i]
	}
	slices.Sort(milestones)
	for i, milestone := range milestones {
		indexes[i] = of[milestone]
	}
}

func (l *listed) trials(rank uint64) (milestones []uint32, indexes []uint64) {
	slot := l.slots[rank]
	return l.trialsOf(l.productOf(slot), slot, nil, nil)
}

// productOf returns the product of a slot.
func (l *listed) productOf(slot uint32) int {
	return sort.Search(len(l.products), func(k int) bool { return l.products[k].first > slot }) - 1
}

func (l *listed) find(index uint64) (rank uint64, milestone uint32, ok bool) {
	if l.isTrial[index/64]>>(index%64)&1 == 0 {
		return 0, 0, false
	}
	k := l.grid.ProductOf(index)
	rank, ok = l.rank(k, index-l.products[k].Offset)
	_, indexes := l.trials(rank)
	return rank, uint32(slices.Index(indexes, index)), ok
}

func (l *listed) rank(k int, rest uint64) (rank uint64, ok bool) {
	number := l.ranks[l.products[k].slot(rest)]
	return uint64(number), number != noRank
}

func (l *listed) from(index uint64) (uint64, bool) {
	word := index / 64
	rest := l.isTrial[word] >> (index % 64) << (index % 64)
	for rest == 0 {
		if word++; word == uint64(len(l.isTrial)) {
			return 0, false
		}
		rest = l.isTrial[word]
	}
	return word*64 + uint64(bits.TrailingZeros64(rest)), true
}

func (l *listed) stretches() ([]stretch, amount) { return nil, l.all }
