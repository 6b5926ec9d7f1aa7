package lattice

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// A study that is extended gets the runs and trials of a larger grid that it does not have. The runs that it has keep their
// places, and may get trials; the new ones have the places after them. The trials that are new have the indexes of the
// larger grid, counted from the study's indices before.

// ErrNotIndexed says that what an extension adds does not follow from its spec alone: the study's own points are not all
// among those of the larger grid.
var ErrNotIndexed = errors.New("the extension can't be computed")

// earlier is what a study had before it was extended to the grid of a lattice.
type earlier struct {
	*Lattice
	// offset is the index of the larger grid's first point.
	offset uint64
	// had says which runs of the larger grid the study had.
	had had
	// lengthened says that runs of the study may have got trials.
	lengthened bool
	// visited are the indexes that the points of the study's trials have in the larger grid, in order.
	visited func() []uint64
}

// had are those runs of a larger grid that a study had before it was extended. A run's position is its rank, or what a
// random order makes of it.
type had interface {
	// count returns how many they are.
	count() uint64
	// before returns how many are at lower positions, and whether the one at the position itself is among them.
	before(position uint64) (n uint64, is bool)
	// other returns the position of the run with the given number among those that the study did not have.
	other(number uint64) (position uint64)
	// after returns a lower bound of the next index of a trial after that of a point that the study had, before an upper
	// bound of the previous one; ok is false if there is none.
	after(index uint64) (next uint64, ok bool)
	beforeIndex(index uint64) (previous uint64, ok bool)
}

// Extend returns the lattice of a study that has been extended to the grid of spec, whose defaults are set. offset is the
// index of the grid's first point. spent is the budget that the study has now. ordered says that the new runs are in the
// order of the spec, as in a grid of which a budget allows a part; otherwise the longest are the first.
//
// Errors are those of New, ErrNotIndexed, and a refusal if the budget has no room for the new trials of the runs that the
// study has.
func (l *Lattice) Extend(
	spec *trellisv1.StudySpec, offset uint64, spent *trellisv1.Budget, ordered bool,
) (*Lattice, error) {
	its := spec
	if !ordered {
		its = proto.CloneOf(spec)
		its.Order = trellisv1.Order_ORDER_UNSPECIFIED
	}
	e, equal, err := readSpec(l.study, its)
	if err != nil {
		return nil, err
	}
	if offset < l.Indices() || offset+e.grid.Size() < offset {
		return nil, fmt.Errorf("the indexes of an extension begin at %d: %w", offset, ErrNotIndexed)
	}
	e.earlier = &earlier{Lattice: l, offset: offset, lengthened: e.mayLengthen(l)}
	e.earlier.visited = sync.OnceValue(e.visitedIndexes)
	if e.earlier.had, err = e.hadOf(l); err != nil {
		return nil, err
	}
	if err := e.spendMore(spent, equal); err != nil {
		return nil, err
	}
	e.sparse = !e.whole || e.all.trials-l.within.trials < e.grid.Size()/fewTrials
	return e, nil
}

// mayLengthen says whether a run that the study had may get trials: where it is not known that all have the max_epochs of
// their grid, or where a grid gets some.
func (l *Lattice) mayLengthen(before *Lattice) bool {
	_, computes := l.runs.(*computed)
	if l.grid.RunsApart() {
		return false
	}
	if !computes || len(l.grid.Products()) != len(before.grid.Products()) {
		return true
	}
	for k := range l.grid.Products() {
		now, was := l.grid.Products()[k].Dimensions, before.grid.Products()[k].Dimensions
		for i := range now {
			if now[i].Name == grid.MaxEpochs && (len(was) != len(now) || now[i].Size() != was[i].Size()) {
				return true
			}
		}
	}
	return false
}

// hadOf returns which runs of the grid the study had: by arithmetic if that is possible, or else from a list of 8 bytes for
// each.
func (l *Lattice) hadOf(before *Lattice) (had, error) {
	if c, ok := l.runs.(*computed); ok && l.shuffled == nil && before.whole {
		if h := newHadPart(c, before.grid); h != nil && h.count() == uint64(before.Runs()) {
			return h, nil
		}
	}
	h := &hadListed{positions: make([]uint64, before.Runs())}
	missing := make([]bool, before.Runs())
	inParallel(len(h.positions), func(from, end int) {
		point := &trellisv1.Parameters{}
		for place := from; place < end; place++ {
			before.readPoint(before.firstIndex(uint32(place)), point)
			rank, ok := l.ownRank(point)
			if missing[place] = !ok; ok && l.shuffled != nil {
				rank = l.shuffled.place(rank)
			}
			h.positions[place] = rank
		}
	})
	if slices.Contains(missing, true) {
		return nil, ErrNotIndexed
	}
	slices.Sort(h.positions)
	return h, nil
}

// spendMore spends what the budget has left for the runs that the study did not have, after the new trials of those that it
// had.
func (l *Lattice) spendMore(budget *trellisv1.Budget, equal []stretch) error {
	before := l.earlier.Lattice
	if budget.GetTrials() == 0 && budget.GetEpochs() == 0 {
		l.whole, l.within = true, l.all
		return nil
	}
	spent := before.within
	if l.earlier.lengthened {
		for place := range before.Runs() {
			milestones, _ := before.Milestones(place)
			now, _ := l.Milestones(place)
			was, is := amountOf(milestones), amountOf(now)
			spent.trials += is.trials - was.trials
			spent.epochs += is.epochs - was.epochs
			spent.alone += is.alone - was.alone
			spent.longest = max(spent.longest, is.longest)
		}
	}
	if err := grid.CheckLengthened(budget, spent.trials, spent.epochs); err != nil {
		return err
	}
	free := l.all.runs - l.earlier.had.count()
	if len(equal) == 1 {
		n := affordable(budget, spent, stretch{free, equal[0].each})
		spent.add(n, equal[0].each)
	} else {
		for number := range free {
			milestones, _ := l.runs.trials(l.earlier.rankOfNumber(l, number))
			s := stretch{1, amountOf(milestones)}
			if affordable(budget, spent, s) == 0 {
				break
			}
			spent.add(1, s.each)
		}
	}
	l.within, l.whole = spent, spent.runs == l.all.runs
	return nil
}

// visitedIndexes returns earlier.visited.
func (l *Lattice) visitedIndexes() []uint64 {
	before := l.earlier
	visited := make([]uint64, 0, before.Trials())
	for place := range before.Runs() {
		milestones, indexes := before.Milestones(place)
		rank, ok := l.ownRank(before.At(slices.Min(indexes)))
		if !ok {
			continue
		}
		own, at := l.runs.trials(rank)
		for i, epochs := range own {
			if slices.Contains(milestones, epochs) {
				visited = append(visited, before.offset+at[i])
			}
		}
	}
	slices.Sort(visited)
	return visited
}

// first returns the index of the first point of the grid.
func (l *Lattice) first() uint64 {
	if l.earlier == nil {
		return 0
	}
	return l.earlier.offset
}

// gridOf returns the lattice of which the grid has an index.
func (l *Lattice) gridOf(index uint64) *Lattice {
	for index < l.first() {
		l = l.earlier.Lattice
	}
	return l
}

// readPoint is At into a point of the caller's: see grid.Grid.Read.
func (l *Lattice) readPoint(index uint64, point *trellisv1.Parameters) {
	its := l.gridOf(index)
	its.grid.Read(index-its.first(), point)
}

// trials is Milestones of a lattice after an extension.
func (e *earlier) trials(l *Lattice, place uint32) (milestones []uint32, indexes []uint64) {
	if place >= e.Runs() {
		milestones, indexes = l.runs.trials(l.rankOf(place))
		for i := range indexes {
			indexes[i] += e.offset
		}
		return milestones, indexes
	}
	milestones, indexes = e.Milestones(place)
	if !e.lengthened {
		return milestones, indexes
	}
	rank, ok := l.ownRank(e.At(slices.Min(indexes)))
	if !ok {
		return milestones, indexes
	}
	own, at := l.runs.trials(rank)
	for i, epochs := range own {
		if milestone, has := slices.BinarySearch(milestones, epochs); !has {
			milestones = slices.Insert(milestones, milestone, epochs)
			indexes = slices.Insert(indexes, milestone, e.offset+at[i])
		}
	}
	return milestones, indexes
}

// find is Lattice.Find of a lattice after an extension.
func (e *earlier) find(l *Lattice, index uint64) (place, milestone uint32, ok bool) {
	switch {
	case index < e.offset:
		place, milestone, ok = e.Find(index)
		if !ok || !e.lengthened {
			return place, milestone, ok
		}
	case index-e.offset >= l.grid.Size():
		return 0, 0, false
	default:
		rank, which, there := l.runs.find(index - e.offset)
		if !there {
			return 0, 0, false
		}
		if place, ok = l.placeOf(rank); ok || !e.lengthened {
			return place, which, ok
		}
		if place, ok = e.PlaceOf(l.At(index)); !ok {
			return 0, 0, false
		}
	}
	_, indexes := l.Milestones(place)
	at := slices.Index(indexes, index)
	return place, uint32(at), at >= 0
}

// rankOf returns the rank of a run at a place after those that the study had.
func (e *earlier) rankOf(l *Lattice, place uint32) uint64 {
	if place < e.Runs() {
		panic("lattice: a place of an earlier grid")
	}
	return e.rankOfNumber(l, uint64(place-e.Runs()))
}

// rankOfNumber returns the rank of a run by its number among those that the study did not have.
func (e *earlier) rankOfNumber(l *Lattice, number uint64) uint64 {
	position := e.had.other(number)
	if l.shuffled != nil {
		return l.shuffled.at(position)
	}
	return position
}

// placeOf returns the place of the run at a position. ok is false if the study had it.
func (e *earlier) placeOf(position uint64) (place uint64, ok bool) {
	n, had := e.had.before(position)
	return uint64(e.Runs()) + position - n, !had
}

// from is Lattice.From of an index of the larger grid, of which nothing is beyond the budget.
func (e *earlier) from(l *Lattice, index uint64) (uint64, bool) {
	for {
		own, ok := l.runs.from(index - e.offset)
		if !ok {
			return 0, false
		}
		index = e.offset + own
		if _, _, ok := l.Find(index); ok {
			return index, true
		}
		if own, ok = e.had.after(own); !ok || own >= l.grid.Size() {
			return 0, false
		}
		index = e.offset + own
	}
}

// before is Lattice.Before of a lattice after an extension.
func (e *earlier) before(l *Lattice, index uint64) (uint64, bool) {
	if index <= e.offset {
		return e.Before(index)
	}
	if l.sparse {
		if before, ok := l.ownBefore(index); ok {
			return before, true
		}
		return e.Before(e.offset)
	}
	own, ok := min(index-e.offset, l.grid.Size()), true
	for ok && own > 0 {
		own--
		if _, _, is := l.Find(e.offset + own); is {
			return e.offset + own, true
		}
		if _, _, there := l.runs.find(own); there {
			own, ok = e.had.beforeIndex(own)
			own++
		}
	}
	return e.Before(e.offset)
}

// hadListed are the positions of runs that a study had, in order.
type hadListed struct{ positions []uint64 }

func (h *hadListed) count() uint64 { return uint64(len(h.positions)) }

func (h *hadListed) before(position uint64) (uint64, bool) {
	at, is := slices.BinarySearch(h.positions, position)
	return uint64(at), is
}

func (h *hadListed) other(number uint64) uint64 {
	// Of those before it, each is at a position whose number among the others is at most the same.
	low, high := 0, len(h.positions)
	for low < high {
		if middle := (low + high) / 2; h.positions[middle]-uint64(middle) <= number {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return number + uint64(low)
}

func (h *hadListed) after(index uint64) (uint64, bool) { return index + 1, true }

func (h *hadListed) beforeIndex(index uint64) (uint64, bool) { return index - 1, index > 0 }
