package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"sort"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lattice"
	"trellis/results/lifecycle"
	"trellis/results/listing"
	"trellis/results/trajectory"
)

// Catalog says which runs and trials a study has, and where they are. A run's place is its position in the order in which
// runs are trained. The first places belong to the runs of the base, which follow from the study's spec. Listed runs have
// places after them, from ListedFrom on if there is a base: it may grow.
//
// A catalog is never changed. When the study is extended, a larger one replaces it: runs keep their places and trials
// their indexes, but a run may have more trials.
type Catalog struct {
	Study string
	// Base is nil if all runs are listed.
	Base *Base

	// places has the places of the listed runs, by id.
	places map[string]uint32
	// first is the position in indexes of the first trial of each listed run, and at the end the number of all. indexes
	// are those of their trials, by run and milestone.
	first   []uint32
	indexes []uint64
	// lengthened are the trials of the base's runs that have more than those of the base, by place.
	lengthened map[uint32]trials
	// moreTrials and moreEpochs are what these have more than those of the base.
	moreTrials, moreEpochs uint64
	// listed are all trials that are not the base's, ordered by index.
	listed   []Trial
	smallest string
}

// Base is what follows from the spec that a study was created with.
type Base struct {
	*lattice.Lattice
	// Terms are those of the study, and Created is its create_index.
	Terms   *trajectory.Terms
	Created uint64
	// Untouched is what has become of the runs that have no row. Nil: they are PENDING.
	Untouched *trellisv1.Untouched

	recent *recent
}

// NewBase returns the base of a study, of which the lattice is.
func NewBase(study *trellisv1.Study, its *lattice.Lattice) *Base {
	return &Base{
		Lattice: its, Terms: trajectory.TermsOf(study.Spec), Created: study.CreateIndex, Untouched: study.Untouched,
		recent: newRecent(its.Runs()),
	}
}

// Run returns the run at a place as it follows from the spec: see lattice.Lattice.Run. Nobody may change it.
func (b *Base) Run(place uint32) *trellisv1.Run {
	run := b.recent.run(place)
	if run == nil {
		run = b.Lattice.Run(place)
		run.ModifyIndex = b.Created
		b.recent.note(run)
	}
	return run
}

// Trial is a listed trial: its index, the place of its run, and its max_epochs.
type Trial struct {
	Index  uint64
	Place  uint32
	Epochs uint32
}

// trials are those of a run, by milestone.
type trials struct {
	milestones []uint32
	indexes    []uint64
}

// New returns the catalog of a study with a base, which may be nil, the listed runs, in the order of their places, and the
// trials that are not the base's. Every milestone of a listed run needs its trial, and every trial an index of its own.
func New(study string, base *Base, runs []*trellisv1.Run, listed []Trial) (*Catalog, error) {
	c := &Catalog{Study: study, Base: base, places: make(map[string]uint32, len(runs)), first: make([]uint32, 1, len(runs)+1)}
	for i, run := range runs {
		if err := checkRun(run); err != nil {
			return nil, fmt.Errorf("run %s: %w", run.Id, err)
		}
		if _, again := c.places[run.Id]; again {
			return nil, fmt.Errorf("run %s: it occurs twice: %w", run.Id, listing.ErrInvalid)
		}
		c.places[run.Id] = c.from() + uint32(i)
		if i == 0 || run.Id < c.smallest {
			c.smallest = run.Id
		}
		c.first = append(c.first, c.first[i]+uint32(len(run.Milestones)))
	}
	c.indexes = make([]uint64, c.first[len(runs)])
	if c.listed = listed; len(listed) > 0 || len(runs) > 0 || base == nil {
		return c, c.addTrials(runs)
	}
	return c, nil
}

// addTrials gives every listed trial its place among those of its run.
func (c *Catalog) addTrials(runs []*trellisv1.Run) error {
	slices.SortFunc(c.listed, func(a, b Trial) int { return cmp.Compare(a.Index, b.Index) })
	ofRuns, given := 0, make([]bool, len(c.indexes))
	for i, trial := range c.listed {
		if i > 0 && trial.Index == c.listed[i-1].Index {
			return fmt.Errorf("trial %d: it occurs twice: %w", trial.Index, listing.ErrInvalid)
		}
		if trial.Place < c.from() {
			if err := c.lengthen(trial); err != nil {
				return err
			}
			continue
		}
		number := trial.Place - c.from()
		milestone, _ := slices.BinarySearch(runs[number].Milestones, trial.Epochs)
		at := c.first[number] + uint32(milestone)
		if c.indexes[at] = trial.Index; !given[at] {
			ofRuns++
		}
		given[at] = true
	}
	if ofRuns != len(c.indexes) || len(c.listed) > ofRuns && c.Base == nil || c.Trials() == 0 {
		return fmt.Errorf("%d trials for runs with %d milestones: %w", len(c.listed), len(c.indexes), listing.ErrInvalid)
	}
	return nil
}

// lengthen adds a trial to a run of the base.
func (c *Catalog) lengthen(trial Trial) error {
	if c.lengthened == nil {
		c.lengthened = map[uint32]trials{}
	}
	its, known := c.lengthened[trial.Place]
	if !known {
		its.milestones, its.indexes = c.Base.Milestones(trial.Place)
	}
	milestone, has := slices.BinarySearch(its.milestones, trial.Epochs)
	if has || trial.Epochs == 0 {
		return fmt.Errorf("trial %d: its run has no new milestone of %d epochs: %w", trial.Index, trial.Epochs,
			listing.ErrInvalid)
	}
	c.moreTrials++
	if last := its.milestones[len(its.milestones)-1]; trial.Epochs > last {
		c.moreEpochs += uint64(trial.Epochs - last)
	}
	c.lengthened[trial.Place] = trials{
		slices.Insert(its.milestones, milestone, trial.Epochs), slices.Insert(its.indexes, milestone, trial.Index),
	}
	return nil
}

// ListedFrom is the place of the first listed run of a study with a base. No base is as large.
const ListedFrom = 1 << 31

// from is the place of the first listed run.
func (c *Catalog) from() uint32 {
	if c.Base == nil {
		return 0
	}
	return ListedFrom
}

// InBase says whether the run at a place follows from the spec.
func (c *Catalog) InBase(place uint32) bool { return place < c.from() }

// Has says whether there is a run at a place.
func (c *Catalog) Has(place uint32) bool {
	first, next := c.ListedPlaces()
	return place < c.BaseRuns() || first <= place && place < next
}

// BaseRuns returns how many runs follow from the spec: those at the first places.
func (c *Catalog) BaseRuns() uint32 {
	if c.Base == nil {
		return 0
	}
	return c.Base.Runs()
}

// ListedPlaces returns the place of the first listed run, and that after the last.
func (c *Catalog) ListedPlaces() (first, next uint32) {
	return c.from(), c.from() + uint32(len(c.first)-1)
}

// Runs returns the number of runs.
func (c *Catalog) Runs() int { return int(c.BaseRuns()) + len(c.first) - 1 }

// Trials returns the number of trials.
func (c *Catalog) Trials() uint64 {
	if c.Base == nil {
		return uint64(len(c.listed))
	}
	return c.Base.Trials() + uint64(len(c.listed))
}

// Listed returns the trials that don't follow from the spec, by index.
func (c *Catalog) Listed() []Trial { return c.listed }

// Indices returns a number that all trials' indexes are below: the largest plus one, as far as they are listed.
func (c *Catalog) Indices() uint64 {
	indices := uint64(0)
	if c.Base != nil {
		indices = c.Base.Indices()
	}
	if n := len(c.listed); n > 0 {
		indices = max(indices, c.listed[n-1].Index+1)
	}
	return indices
}

// PlaceOf returns the place of one of the study's own runs.
func (c *Catalog) PlaceOf(run *trellisv1.Run) uint32 {
	if place, listed := c.places[run.Id]; listed {
		return place
	}
	return run.Place
}

// ListsNothing says whether all runs and trials follow from the study's specs.
func (c *Catalog) ListsNothing() bool {
	return c.Base != nil && len(c.places) == 0 && len(c.listed) == 0
}

// ListsRuns says whether some runs don't follow from the spec.
func (c *Catalog) ListsRuns() bool { return len(c.places) > 0 || c.Base == nil }

// Lists says whether the run with an id is listed.
func (c *Catalog) Lists(id string) bool {
	_, listed := c.places[id]
	return listed
}

// Find returns the place of the run with an id. It may take as long as it takes to compute the ids of all runs, the first
// time.
func (c *Catalog) Find(id string) (place uint32, ok bool) {
	if place, ok = c.places[id]; ok || c.Base == nil {
		return place, ok
	}
	if place, ok = c.Base.recent.find(id); ok && place < c.BaseRuns() && c.Base.Lattice.Run(place).Id == id {
		return place, true
	}
	return c.Base.PlaceOfID(id)
}

// Trial returns the place of the run of a trial, and which of its milestones the trial has. ok is false if the study has
// no such trial.
func (c *Catalog) Trial(index uint64) (place, milestone uint32, ok bool) {
	at := c.listedFrom(index)
	if at < len(c.listed) && c.listed[at].Index == index {
		place, ok = c.listed[at].Place, true
	} else if c.Base != nil {
		place, milestone, ok = c.Base.Find(index)
		if _, more := c.lengthened[place]; !ok || !more {
			return place, milestone, ok
		}
	}
	if !ok {
		return 0, 0, false
	}
	return place, uint32(slices.Index(c.IndexesAt(place), index)), true
}

// listedFrom returns the position of the first listed trial at or after an index.
func (c *Catalog) listedFrom(index uint64) int {
	return sort.Search(len(c.listed), func(i int) bool { return c.listed[i].Index >= index })
}

// From returns the lowest index of a trial at or after an index. ok is false if there is none.
func (c *Catalog) From(index uint64) (lowest uint64, ok bool) {
	if c.Base != nil {
		lowest, ok = c.Base.From(index)
	}
	if at := c.listedFrom(index); at < len(c.listed) && (!ok || c.listed[at].Index < lowest) {
		return c.listed[at].Index, true
	}
	return lowest, ok
}

// IndexesAt returns the indexes of the trials of the run at a place, by milestone.
func (c *Catalog) IndexesAt(place uint32) []uint64 {
	if its, more := c.lengthened[place]; more {
		return its.indexes
	}
	if c.InBase(place) {
		return c.Base.Indexes(place)
	}
	number := place - c.from()
	return c.indexes[c.first[number]:c.first[number+1]:c.first[number+1]]
}

// Lengthens says whether a run of the base from one place on, below another, has more trials than those of the base.
func (c *Catalog) Lengthens(from, to uint32) bool {
	if len(c.lengthened) == 0 {
		return false
	}
	for place := from; place < to; place++ {
		if _, more := c.lengthened[place]; more {
			return true
		}
	}
	return false
}

// ListsTrial says whether the trial with an index does not follow from the spec.
func (c *Catalog) ListsTrial(index uint64) bool {
	at := c.listedFrom(index)
	return at < len(c.listed) && c.listed[at].Index == index
}

// MilestonesAt returns the milestones and the indexes of the trials of the run of the base at a place.
func (c *Catalog) MilestonesAt(place uint32) (milestones []uint32, indexes []uint64) {
	if its, more := c.lengthened[place]; more {
		return its.milestones, its.indexes
	}
	return c.Base.Milestones(place)
}

// UntouchedState returns what has become of untouched runs. Nil: they are PENDING.
func (c *Catalog) UntouchedState() *trellisv1.Untouched {
	if c.Base == nil {
		return nil
	}
	return c.Base.Untouched
}

// TrialsAt returns the point of the run of the base at a place, and the milestones and indexes of its trials. That takes a
// fraction of the time of Untouched, which computes the run's id.
func (c *Catalog) TrialsAt(place uint32) (point *trellisv1.Parameters, milestones []uint32, indexes []uint64) {
	point = &trellisv1.Parameters{}
	milestones, indexes = c.ReadTrialsAt(place, point)
	return point, milestones, indexes
}

// ReadTrialsAt is TrialsAt with a point of the caller's, which it replaces. Who reads many needs no memory for each.
func (c *Catalog) ReadTrialsAt(place uint32, point *trellisv1.Parameters) (milestones []uint32, indexes []uint64) {
	milestones, indexes = c.Base.ReadTrialsAt(place, point)
	if its, more := c.lengthened[place]; more {
		milestones, indexes = its.milestones, its.indexes
	}
	return milestones, indexes
}

// Before returns the highest index of a trial below an index. ok is false if there is none.
func (c *Catalog) Before(index uint64) (highest uint64, ok bool) {
	if c.Base != nil {
		highest, ok = c.Base.Before(index)
	}
	if at := c.listedFrom(index); at > 0 && (!ok || c.listed[at-1].Index > highest) {
		return c.listed[at-1].Index, true
	}
	return highest, ok
}

// Untouched returns the run of the base at a place as it is while nobody has given it anything. Nobody may change it.
func (c *Catalog) Untouched(place uint32) *trajectory.Trajectory {
	run := c.Base.Run(place)
	its, more := c.lengthened[place]
	if u := c.Base.Untouched; more || u != nil {
		run = trajectory.CopyRun(run)
		if more {
			run.Milestones = its.milestones
			run.Parameters = trajectory.ParametersAt(run, its.milestones[len(its.milestones)-1])
		}
		if u != nil {
			run.State, run.Error, run.ModifyIndex = trajectory.StateOfUntouched(u), u.Error, u.ModifyIndex
		}
	}
	return &trajectory.Trajectory{Run: run, Terms: c.Base.Terms}
}

// UntouchedWithoutID returns an untouched run as Untouched does, without its id, which takes longest to compute.
func (c *Catalog) UntouchedWithoutID(place uint32) *trellisv1.Run {
	point, milestones, indexes := c.Base.TrialsAt(place)
	if its, more := c.lengthened[place]; more {
		milestones = its.milestones
	}
	run := &trellisv1.Run{
		Study: c.Study, Place: place, Parameters: point, Milestones: milestones, ModifyIndex: c.Base.Created,
		State: lifecycle.RunPending, FirstTrial: slices.Min(indexes),
	}
	run.Parameters = trajectory.ParametersAt(run, milestones[len(milestones)-1])
	if u := c.Base.Untouched; u != nil {
		run.State, run.Error, run.ModifyIndex = trajectory.StateOfUntouched(u), u.Error, u.ModifyIndex
	}
	return run
}

// Unsealed returns the run of the base at a place, which has been sealed: see trajectory.Complete.
func (c *Catalog) Unsealed(place uint32, its *trajectory.Trajectory) *trajectory.Trajectory {
	return its.Complete(c.Base.Run(place), func(milestones []uint32) []uint64 {
		all, its := c.MilestonesAt(place)
		if len(all) == len(milestones) {
			return its
		}
		// It was sealed before the run got more.
		indexes := make([]uint64, 0, len(milestones))
		for i, milestone := range all {
			if _, has := slices.BinarySearch(milestones, milestone); has {
				indexes = append(indexes, its[i])
			}
		}
		return indexes
	})
}

// WithUntouched returns the catalog with what has become of untouched runs.
func (c *Catalog) WithUntouched(untouched *trellisv1.Untouched) *Catalog {
	changed, base := *c, *c.Base
	base.Untouched = untouched
	changed.Base = &base
	return &changed
}

// Raised returns the catalog with a base that has more runs, after those that it has: that of a larger budget.
func (c *Catalog) Raised(base *Base) *Catalog {
	changed := *c
	changed.Base = base
	return &changed
}

// Cost returns the numbers of runs, trials and epochs of the base, with those that its runs have got since.
func (c *Catalog) Cost() (runs, trials, epochs uint64) {
	if c.Base == nil {
		return 0, 0, 0
	}
	return uint64(c.Base.Runs()), c.Base.Trials() + c.moreTrials, c.Base.Epochs() + c.moreEpochs
}

// Progress returns that of a study whose runs are all untouched, without the listed ones.
func (c *Catalog) Progress() *trellisv1.Progress {
	if c.Base == nil {
		return &trellisv1.Progress{}
	}
	runs, trials, epochs := c.Cost()
	return trajectory.Untouched(runs, trials, epochs, c.Base.Untouched)
}

// Smallest returns the smallest id of the runs. It may take as long as it takes to compute the ids of all, the first time.
func (c *Catalog) Smallest() string {
	if c.Base == nil {
		return c.smallest
	}
	if smallest := c.Base.Smallest(); len(c.places) == 0 || smallest < c.smallest {
		return smallest
	}
	return c.smallest
}

// checkRun returns an error that says what is wrong with a new run, or nil.
func checkRun(run *trellisv1.Run) error {
	milestones := run.GetMilestones()
	for i, milestone := range milestones {
		if milestone == 0 || i > 0 && milestone <= milestones[i-1] {
			return fmt.Errorf("milestones %v must ascend and be at least 1: %w", milestones, listing.ErrInvalid)
		}
	}
	if len(milestones) == 0 || milestones[len(milestones)-1] != run.GetParameters().GetMaxEpochs() {
		return fmt.Errorf("milestones %v must end at the run's %d epochs: %w",
			milestones, run.GetParameters().GetMaxEpochs(), listing.ErrInvalid)
	}
	return nil
}

// TrialOf returns the entry of a listed trial of the run, at a place.
func TrialOf(run *trellisv1.Run, place uint32, trial *trellisv1.Trial) (Trial, error) {
	epochs := trial.GetParameters().GetMaxEpochs()
	switch _, ok := slices.BinarySearch(run.Milestones, epochs); {
	case !ok:
		return Trial{}, fmt.Errorf("%d epochs are not a milestone of run %s: %w", epochs, run.Id, listing.ErrInvalid)
	case trial.GetIndex() < run.FirstTrial:
		return Trial{}, fmt.Errorf("it is before the first trial, %d, of run %s: %w", run.FirstTrial, run.Id,
			listing.ErrInvalid)
	case !proto.Equal(trial.GetParameters(), trajectory.ParametersAt(run, epochs)):
		return Trial{}, fmt.Errorf("its parameters are not those of run %s: %w", run.Id, listing.ErrInvalid)
	}
	return Trial{trial.GetIndex(), place, epochs}, nil
}
