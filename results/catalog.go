package results

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/pruning"
	"trellis/results/trajectory"
)

// catalog says which runs and trials a study has, and where they are. It is never changed. When the study is extended,
// a larger catalog replaces it: runs keep their places and trials their indexes, but trials may get other numbers. A
// run's place is its position in the order in which runs are leased. Trials are numbered by the place of their run, and
// then by its milestones.
type catalog struct {
	study string
	// places has the place of each run, by id.
	places map[string]uint32
	// first is the number of the first trial of the run at each place, and at the end the number of all trials.
	first []uint32
	// indexes has the trials' indexes, by number. byIndex has their numbers, ordered by index.
	indexes []uint64
	byIndex []uint32
	// smallest is the smallest id of the runs.
	smallest string
}

func catalogsSchema() *memdb.TableSchema {
	return tableSchema(tableCatalogs, index(indexID, func(c *catalog) key { return textKey(c.study) }))
}

// checkRun returns an error that says what is wrong with a new run, or nil.
func checkRun(run *trellisv1.Run) error {
	if err := validName(run.GetId()); err != nil {
		return err
	}
	milestones := run.GetMilestones()
	for i, milestone := range milestones {
		if milestone == 0 || i > 0 && milestone <= milestones[i-1] {
			return fmt.Errorf("milestones %v must ascend and be at least 1: %w", milestones, ErrInvalid)
		}
	}
	if len(milestones) == 0 || milestones[len(milestones)-1] != run.GetParameters().GetMaxEpochs() {
		return fmt.Errorf("milestones %v must end at the run's %d epochs: %w",
			milestones, run.GetParameters().GetMaxEpochs(), ErrInvalid)
	}
	return nil
}

// compareRuns defines the order in which runs are leased: the longest first, and runs of the same length in the order
// of the grid. A long run that starts last would keep one worker busy while the others have nothing to do.
func compareRuns(a, b *trellisv1.Run) int {
	return cmp.Or(
		cmp.Compare(b.Parameters.GetMaxEpochs(), a.Parameters.GetMaxEpochs()),
		cmp.Compare(a.FirstTrial, b.FirstTrial),
		strings.Compare(a.Id, b.Id),
	)
}

// placeOrder returns the order in which a study's runs are leased: that of compareRuns, except that a study that prunes
// orders runs of the same length by their ids. Pruning compares a run with those before it. Neighbors in a grid are
// alike, so in grid order many poor runs would look good. Ids are hashes, so their order is random.
func placeOrder(study *trellisv1.Study) func(a, b *trellisv1.Run) int {
	if pruning.Of(study.GetSpec()) == nil {
		return compareRuns
	}
	return func(a, b *trellisv1.Run) int {
		return cmp.Or(cmp.Compare(b.Parameters.GetMaxEpochs(), a.Parameters.GetMaxEpochs()),
			strings.Compare(a.Id, b.Id))
	}
}

// newCatalog returns a catalog of runs, which must be in the order of their places. The caller adds its trials.
func newCatalog(study string, runs []*trellisv1.Run) (*catalog, error) {
	c := &catalog{study: study, places: make(map[string]uint32, len(runs)), first: make([]uint32, 1, len(runs)+1)}
	for place, run := range runs {
		if err := checkRun(run); err != nil {
			return nil, fmt.Errorf("run %s: %w", run.Id, err)
		}
		if _, again := c.places[run.Id]; again {
			return nil, fmt.Errorf("run %s: it occurs twice: %w", run.Id, ErrInvalid)
		}
		c.places[run.Id] = uint32(place)
		if place == 0 || run.Id < c.smallest {
			c.smallest = run.Id
		}
		c.first = append(c.first, c.first[place]+uint32(len(run.Milestones)))
	}
	c.indexes = make([]uint64, c.first[len(runs)])
	c.byIndex = make([]uint32, 0, len(c.indexes))
	return c, nil
}

// inherit copies the trials of a study's catalog from before an extension. The old runs are still there, in the same
// places, with the same milestones and perhaps more.
func (c *catalog) inherit(before *catalog, old, runs []*trellisv1.Run) {
	numbers := make([]uint32, len(before.indexes))
	for place, run := range old {
		milestone := uint32(0)
		for i, epochs := range run.Milestones {
			for runs[place].Milestones[milestone] != epochs {
				milestone++
			}
			numbers[int(before.first[place])+i] = c.first[place] + milestone
		}
	}
	for _, number := range before.byIndex {
		c.indexes[numbers[number]] = before.indexes[number]
		c.byIndex = append(c.byIndex, numbers[number])
	}
}

// addTrial adds a trial, and returns its number.
func (c *catalog) addTrial(runs []*trellisv1.Run, trial *trellisv1.Trial) (uint32, error) {
	place, ok := c.places[trial.GetRun()]
	if !ok {
		return 0, fmt.Errorf("run %s not found: %w", trial.GetRun(), ErrInvalid)
	}
	run, epochs := runs[place], trial.GetParameters().GetMaxEpochs()
	milestone, ok := slices.BinarySearch(run.Milestones, epochs)
	switch {
	case !ok:
		return 0, fmt.Errorf("%d epochs are not a milestone of run %s: %w", epochs, run.Id, ErrInvalid)
	case trial.GetIndex() < run.FirstTrial:
		return 0, fmt.Errorf("it is before the first trial, %d, of run %s: %w", run.FirstTrial, run.Id, ErrInvalid)
	case !proto.Equal(trial.GetParameters(), trajectory.ParametersAt(run, epochs)):
		return 0, fmt.Errorf("its parameters are not those of run %s: %w", run.Id, ErrInvalid)
	}
	number := c.first[place] + uint32(milestone)
	c.indexes[number] = trial.GetIndex()
	c.byIndex = append(c.byIndex, number)
	return number, nil
}

// complete says whether every milestone of a run has its trial, and every trial an index of its own.
func (c *catalog) complete() error {
	if len(c.byIndex) == 0 || len(c.byIndex) != len(c.indexes) {
		return fmt.Errorf("%d trials for runs with %d milestones: %w", len(c.byIndex), len(c.indexes), ErrInvalid)
	}
	slices.SortFunc(c.byIndex, func(a, b uint32) int { return cmp.Compare(c.indexes[a], c.indexes[b]) })
	for i, number := range c.byIndex[1:] {
		if c.indexes[number] == c.indexes[c.byIndex[i]] {
			return fmt.Errorf("trial %d: it occurs twice: %w", c.indexes[number], ErrInvalid)
		}
	}
	return nil
}

// runOf returns the place of a trial's run, and which of its milestones the trial has.
func (c *catalog) runOf(number uint32) (place, milestone uint32) {
	if len(c.indexes) == len(c.places) {
		return number, 0
	}
	place = uint32(sort.Search(len(c.places), func(place int) bool { return c.first[place+1] > number }))
	return place, number - c.first[place]
}

// indices returns the largest index of the trials plus one.
func (c *catalog) indices() uint64 { return c.indexes[c.byIndex[len(c.byIndex)-1]] + 1 }

// indexesAt returns the indexes of the trials of the run at a place, by milestone.
func (c *catalog) indexesAt(place uint32) []uint64 {
	return c.indexes[c.first[place]:c.first[place+1]:c.first[place+1]]
}

// from returns the position in byIndex of the first trial at or after an index.
func (c *catalog) from(index uint64) int {
	return sort.Search(len(c.byIndex), func(i int) bool { return c.indexes[c.byIndex[i]] >= index })
}
