package lattice

import (
	"slices"
	"sync"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// Lattice says which runs and trials follow from the spec that a study was created with: exactly those of grid.Expand,
// within the study's budget. It is immutable and safe for concurrent use.
type Lattice struct {
	study *trellisv1.Study
	grid  *grid.Grid
	// identity is what the ids of all runs have in common, and common the id of a run without parameters: it tells
	// identities apart.
	identity *grid.Identity
	common   string
	runs     runs
	// shuffled is the order of a study that asks for a random one, else nil.
	shuffled *permutation
	// within is what is within the budget, and all what there is without one.
	within, all amount
	// whole says that this is all, and sparse that few of the points are trials within it: who looks for trials one
	// after the other looks them up among kept, since to look at all points would take long.
	whole, sparse bool
	// earlier is what the study had before it was extended to this grid. Nil: it was created with it.
	earlier *earlier

	// kept are the indexes of the trials within the budget, in order.
	kept func() []uint64
	// byID finds places by ids, and smallest is the smallest id.
	byID     func() idIndex
	smallest func() string
}

// runs are all runs of a study, whatever its budget. A run's rank is its position among them: its place, unless the
// order is random.
type runs interface {
	// trials returns the max_epochs of the trials of a run, ascending, and their indexes.
	trials(rank uint64) (milestones []uint32, indexes []uint64)
	// spot returns where one of a run's points is: its product, its place there, and the run's last max_epochs.
	spot(rank uint64) (product int, rest uint64, epochs uint32)
	// find returns the rank of the run of the trial with an index, and which of the run's trials it is.
	find(index uint64) (rank uint64, milestone uint32, ok bool)
	// rank returns that of the run in a product at the place that grid.RunIn says.
	rank(product int, rest uint64) (rank uint64, ok bool)
	// from returns the lowest index of a trial at or after an index.
	from(index uint64) (uint64, bool)
	// stretches are the runs in the order of their ranks, in groups of equal runs that follow each other. It returns
	// nil if that is not known. all is what they are together; more than grid.MaxTrials runs may overflow it, except
	// for their number.
	stretches() (equal []stretch, all amount)
}

// fewTrials is how many points there are for each trial, at least, where trials are few.
const fewTrials = 8

// New returns the lattice of the spec that a study was created with, whose defaults are set. The study's data set,
// numerics and pretrained weights have an influence on ids, and its name on a random order. Errors are those of
// grid.New and grid.ResolveSplit.
func New(study *trellisv1.Study) (*Lattice, error) {
	if _, err := grid.ResolveSplit(study.GetSpec(), study.GetDataSet()); err != nil {
		return nil, err
	}
	return newLattice(study)
}

// Of returns the lattice of a spec whose study there is not yet, and whose data set may not be known: ids mean nothing.
// Errors are those of grid.New.
func Of(spec *trellisv1.StudySpec) (*Lattice, error) {
	return newLattice(&trellisv1.Study{Name: spec.GetName(), Spec: spec})
}

func newLattice(study *trellisv1.Study) (*Lattice, error) {
	l, equal, err := readSpec(study, study.GetSpec())
	if err != nil {
		return nil, err
	}
	l.within = l.spend(study.GetSpec().GetBudget(), equal, l.all)
	l.whole = l.within.runs == l.all.runs
	l.sparse = !l.whole || l.all.trials < l.grid.Size()/fewTrials
	return l, nil
}

// readSpec returns the lattice of a spec, whose budget is yet to be spent, with the runs in groups of equal runs, if these are
// known: see runs.stretches.
func readSpec(study *trellisv1.Study, spec *trellisv1.StudySpec) (_ *Lattice, equal []stretch, err error) {
	g, err := grid.New(spec)
	if err != nil {
		return nil, nil, err
	}
	config := grid.RunConfigFor(study, &trellisv1.Run{}, study.GetNumerics(), 0)
	l := &Lattice{study: study, grid: g, identity: grid.NewIdentity(config)}
	l.common = l.identity.ID(&trellisv1.Parameters{})
	if g.Listing(spec) == grid.ListingNone {
		l.runs = newComputed(g, spec.GetOrder())
	} else {
		l.runs = newListed(g, spec, l.idsOf)
	}
	var all amount
	equal, all = l.runs.stretches()
	if all.runs == 0 {
		return nil, nil, grid.Refuse("where", "where: leaves out all points: no trial would be left", "where")
	}
	if spec.GetOrder() == trellisv1.Order_ORDER_RANDOM {
		l.shuffled = newPermutation(study.GetName(), all.runs)
		if len(equal) > 1 {
			equal = nil
		}
	}
	l.all = all
	l.kept = sync.OnceValue(l.keptIndexes)
	l.byID = sync.OnceValue(l.newIDIndex)
	l.smallest = sync.OnceValue(l.findSmallest)
	return l, equal, nil
}

// Runs returns the number of runs, of which at least one is always within the budget.
func (l *Lattice) Runs() uint32 { return uint32(l.within.runs) }

// Trials returns the number of trials of the runs.
func (l *Lattice) Trials() uint64 { return l.within.trials }

// AllTrials returns the number of trials of the whole grid, whatever the budget.
func (l *Lattice) AllTrials() uint64 { return l.all.trials }

// Extended says whether the study has been extended. Then the index of a trial is not that of its point in the grid.
func (l *Lattice) Extended() bool { return l.earlier != nil }

// Lengthens says whether the last extension may have given trials to runs that the study had.
func (l *Lattice) Lengthens() bool { return l.earlier != nil && l.earlier.lengthened }

// Epochs returns the number of epochs of all runs if none of them stops early.
func (l *Lattice) Epochs() uint64 { return l.within.epochs }

// EpochsAlone returns the number of epochs if every trial were trained separately.
func (l *Lattice) EpochsAlone() uint64 { return l.within.alone }

// Longest returns the largest max_epochs of the runs.
func (l *Lattice) Longest() uint32 { return l.within.longest }

// Indices returns the number of indices. Not every one is that of a trial.
func (l *Lattice) Indices() uint64 { return l.first() + l.grid.Size() }

// At returns the point with an index, which must be below Indices, even if no trial has it.
func (l *Lattice) At(index uint64) *trellisv1.Parameters {
	its := l.gridOf(index)
	return its.grid.At(index - its.first())
}

// Run returns a new message of the run at a place, PENDING, as grid.Expand makes it. Its values are shared with others,
// and must not be changed.
func (l *Lattice) Run(place uint32) *trellisv1.Run {
	milestones, indexes := l.Milestones(place)
	first := slices.Min(indexes)
	parameters := l.At(first)
	id := l.identity.ID(parameters)
	parameters.MaxEpochs = milestones[len(milestones)-1]
	return &trellisv1.Run{
		Study: l.study.GetName(), Id: id, Place: place, Parameters: parameters, Milestones: milestones,
		State: trellisv1.RunState_RUN_STATE_PENDING, FirstTrial: first,
	}
}

// Indexes returns the indexes of the trials of the run at a place, by milestone.
func (l *Lattice) Indexes(place uint32) []uint64 {
	_, indexes := l.Milestones(place)
	return indexes
}

// Milestones returns the milestones of the run at a place, and the indexes of its trials.
func (l *Lattice) Milestones(place uint32) (milestones []uint32, indexes []uint64) {
	if l.earlier != nil {
		return l.earlier.trials(l, place)
	}
	return l.runs.trials(l.rankOf(place))
}

// Find returns the place of the run of the trial with an index, and which of its milestones the trial has. ok is false
// if there is no such trial: where leaves the point out, an earlier grid of the union has it, or it is beyond the
// budget.
func (l *Lattice) Find(index uint64) (place, milestone uint32, ok bool) {
	if l.earlier != nil {
		return l.earlier.find(l, index)
	}
	if index >= l.grid.Size() {
		return 0, 0, false
	}
	rank, milestone, ok := l.runs.find(index)
	if !ok {
		return 0, 0, false
	}
	place, ok = l.placeOf(rank)
	return place, milestone, ok
}

// From returns the lowest index of a trial at or after an index. ok is false if there is none.
func (l *Lattice) From(index uint64) (_ uint64, ok bool) {
	if index >= l.Indices() {
		return 0, false
	}
	if l.earlier != nil && index < l.earlier.offset {
		if index, ok := l.earlier.Lattice.From(index); ok {
			return index, true
		}
		index = l.earlier.offset
	}
	if l.earlier != nil && !l.sparse {
		return l.earlier.from(l, index)
	}
	if l.earlier == nil && l.whole {
		return l.runs.from(index)
	}
	kept := l.kept()
	at, _ := slices.BinarySearch(kept, index)
	if at == len(kept) {
		return 0, false
	}
	return kept[at], true
}

// keptIndexes lists the indexes of the trials of the grid that are within the budget, of which there are at most
// grid.MaxTrials. Those of earlier grids are not among them.
func (l *Lattice) keptIndexes() []uint64 {
	first, trials := uint32(0), l.within.trials
	if l.earlier != nil && !l.earlier.lengthened {
		first, trials = l.earlier.Runs(), trials-l.earlier.Trials()
	}
	kept := make([]uint64, 0, trials)
	for place := first; place < l.Runs(); place++ {
		for _, index := range l.Indexes(place) {
			if index >= l.first() {
				kept = append(kept, index)
			}
		}
	}
	slices.Sort(kept)
	return kept
}

// PlaceOf returns the place of the run that trains a point, which may come from another study: of the run with the same
// id. max_epochs is ignored unless runs depend on it.
func (l *Lattice) PlaceOf(point *trellisv1.Parameters) (place uint32, ok bool) {
	if l.earlier != nil {
		if place, ok := l.earlier.PlaceOf(point); ok {
			return place, true
		}
	}
	if rank, ok := l.ownRank(point); ok {
		return l.placeOf(rank)
	}
	return 0, false
}

// ownRank returns the rank, in this grid, of the run that trains a point.
func (l *Lattice) ownRank(point *trellisv1.Parameters) (rank uint64, ok bool) {
	for k := range l.grid.Products() {
		rest, ok := l.grid.RunIn(k, point)
		if !ok {
			continue
		}
		if rank, ok := l.runs.rank(k, rest); ok {
			return rank, true
		}
	}
	return 0, false
}

// rankOf returns the rank of the run at a place.
func (l *Lattice) rankOf(place uint32) uint64 {
	if uint64(place) >= l.within.runs {
		panic("lattice: place out of range")
	}
	if l.earlier != nil {
		return l.earlier.rankOf(l, place)
	}
	if l.shuffled == nil {
		return uint64(place)
	}
	return l.shuffled.at(uint64(place))
}

// placeOf returns the place of the run of a rank, if it is within the budget.
func (l *Lattice) placeOf(rank uint64) (place uint32, ok bool) {
	if l.shuffled != nil {
		rank = l.shuffled.place(rank)
	}
	if l.earlier != nil {
		if rank, ok = l.earlier.placeOf(rank); !ok {
			return 0, false
		}
	}
	if rank >= l.within.runs {
		return 0, false
	}
	return uint32(rank), true
}

// Grid returns the grid whose points the trials are, the largest after extensions. Nobody may change it.
func (l *Lattice) Grid() *grid.Grid { return l.grid }

// Whole says that the budget allows all runs.
func (l *Lattice) Whole() bool { return l.whole }
