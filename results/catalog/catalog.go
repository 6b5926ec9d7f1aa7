package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/listing"
	"trellis/results/pruning"
	"trellis/results/trajectory"
)

// Catalog says which runs and trials a study has, and where they are. It is never changed. When the study is extended,
// a larger catalog replaces it: runs keep their places and trials their indexes, but trials may get other numbers. A
// run's place is its position in the order in which runs are leased. Trials are numbered by the place of their run, and
// then by its milestones.
type Catalog struct {
	Study string
	// Places has the place of each run, by id.
	Places map[string]uint32
	// First is the number of the first trial of the run at each place, and at the end the number of all trials.
	First []uint32
	// Indexes has the trials' indexes, by number. ByIndex has their numbers, ordered by index.
	Indexes []uint64
	ByIndex []uint32
	// Smallest is the smallest id of the runs.
	Smallest string
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

// CompareRuns defines the order in which runs are leased: the longest first, and runs of the same length in the order
// of the grid. A long run that starts last would keep one worker busy while the others have nothing to do.
func CompareRuns(a, b *trellisv1.Run) int {
	return cmp.Or(
		cmp.Compare(b.Parameters.GetMaxEpochs(), a.Parameters.GetMaxEpochs()),
		cmp.Compare(a.FirstTrial, b.FirstTrial),
		strings.Compare(a.Id, b.Id),
	)
}

// Order returns the order in which a study's runs are leased: that of CompareRuns, except that a study that prunes
// orders runs of the same length by their ids. Pruning compares a run with those before it. Neighbors in a grid are
// alike, so in grid order many poor runs would look good. Ids are hashes, so their order is random.
func Order(study *trellisv1.Study) func(a, b *trellisv1.Run) int {
	if pruning.Of(study.GetSpec()) == nil {
		return CompareRuns
	}
	return func(a, b *trellisv1.Run) int {
		return cmp.Or(cmp.Compare(b.Parameters.GetMaxEpochs(), a.Parameters.GetMaxEpochs()),
			strings.Compare(a.Id, b.Id))
	}
}

// New returns a catalog of runs, which must be in the order of their places. The caller adds its trials.
func New(study string, runs []*trellisv1.Run) (*Catalog, error) {
	c := &Catalog{Study: study, Places: make(map[string]uint32, len(runs)), First: make([]uint32, 1, len(runs)+1)}
	for place, run := range runs {
		if err := checkRun(run); err != nil {
			return nil, fmt.Errorf("run %s: %w", run.Id, err)
		}
		if _, again := c.Places[run.Id]; again {
			return nil, fmt.Errorf("run %s: it occurs twice: %w", run.Id, listing.ErrInvalid)
		}
		c.Places[run.Id] = uint32(place)
		if place == 0 || run.Id < c.Smallest {
			c.Smallest = run.Id
		}
		c.First = append(c.First, c.First[place]+uint32(len(run.Milestones)))
	}
	c.Indexes = make([]uint64, c.First[len(runs)])
	c.ByIndex = make([]uint32, 0, len(c.Indexes))
	return c, nil
}

// Inherit copies the trials of a study's catalog from before an extension. The old runs are still there, in the same
// places, with the same milestones and perhaps more.
func (c *Catalog) Inherit(before *Catalog, old, runs []*trellisv1.Run) {
	numbers := make([]uint32, len(before.Indexes))
	for place, run := range old {
		milestone := uint32(0)
		for i, epochs := range run.Milestones {
			for runs[place].Milestones[milestone] != epochs {
				milestone++
			}
			numbers[int(before.First[place])+i] = c.First[place] + milestone
		}
	}
	for _, number := range before.ByIndex {
		c.Indexes[numbers[number]] = before.Indexes[number]
		c.ByIndex = append(c.ByIndex, numbers[number])
	}
}

// AddTrial adds a trial, and returns its number.
func (c *Catalog) AddTrial(runs []*trellisv1.Run, trial *trellisv1.Trial) (uint32, error) {
	place, ok := c.Places[trial.GetRun()]
	if !ok {
		return 0, fmt.Errorf("run %s not found: %w", trial.GetRun(), listing.ErrInvalid)
	}
	run, epochs := runs[place], trial.GetParameters().GetMaxEpochs()
	milestone, ok := slices.BinarySearch(run.Milestones, epochs)
	switch {
	case !ok:
		return 0, fmt.Errorf("%d epochs are not a milestone of run %s: %w", epochs, run.Id, listing.ErrInvalid)
	case trial.GetIndex() < run.FirstTrial:
		return 0, fmt.Errorf("it is before the first trial, %d, of run %s: %w", run.FirstTrial, run.Id,
			listing.ErrInvalid)
	case !proto.Equal(trial.GetParameters(), trajectory.ParametersAt(run, epochs)):
		return 0, fmt.Errorf("its parameters are not those of run %s: %w", run.Id, listing.ErrInvalid)
	}
	number := c.First[place] + uint32(milestone)
	c.Indexes[number] = trial.GetIndex()
	c.ByIndex = append(c.ByIndex, number)
	return number, nil
}

// Complete says whether every milestone of a run has its trial, and every trial an index of its own.
func (c *Catalog) Complete() error {
	if len(c.ByIndex) == 0 || len(c.ByIndex) != len(c.Indexes) {
		return fmt.Errorf("%d trials for runs with %d milestones: %w", len(c.ByIndex), len(c.Indexes),
			listing.ErrInvalid)
	}
	slices.SortFunc(c.ByIndex, func(a, b uint32) int { return cmp.Compare(c.Indexes[a], c.Indexes[b]) })
	for i, number := range c.ByIndex[1:] {
		if c.Indexes[number] == c.Indexes[c.ByIndex[i]] {
			return fmt.Errorf("trial %d: it occurs twice: %w", c.Indexes[number], listing.ErrInvalid)
		}
	}
	return nil
}

// RunOf returns the place of a trial's run, and which of its milestones the trial has.
func (c *Catalog) RunOf(number uint32) (place, milestone uint32) {
	if len(c.Indexes) == len(c.Places) {
		return number, 0
	}
	place = uint32(sort.Search(len(c.Places), func(place int) bool { return c.First[place+1] > number }))
	return place, number - c.First[place]
}

// Indices returns the largest index of the trials plus one.
func (c *Catalog) Indices() uint64 { return c.Indexes[c.ByIndex[len(c.ByIndex)-1]] + 1 }

// IndexesAt returns the indexes of the trials of the run at a place, by milestone.
func (c *Catalog) IndexesAt(place uint32) []uint64 {
	return c.Indexes[c.First[place]:c.First[place+1]:c.First[place+1]]
}

// From returns the position in ByIndex of the first trial at or after an index.
func (c *Catalog) From(index uint64) int {
	return sort.Search(len(c.ByIndex), func(i int) bool { return c.Indexes[c.ByIndex[i]] >= index })
}

// HasRunOf says whether two studies have a run in common.
func (c *Catalog) HasRunOf(other *Catalog) bool {
	fewer, more := c.Places, other.Places
	if len(fewer) > len(more) {
		fewer, more = more, fewer
	}
	for id := range fewer {
		if _, ok := more[id]; ok {
			return true
		}
	}
	return false
}
