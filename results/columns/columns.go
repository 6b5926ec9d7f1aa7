package columns

import (
	"iter"
	"maps"
	"math"
	"slices"
	"sync/atomic"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/listing"
)

// Columns are the numbers that some trials are ordered by. They are immutable.
//
// Large studies have thousands of them, and a page looks at all: most of the time is that of reading memory. So what decides
// whether one of them has anything for the page is in one piece.
type Columns struct {
	shape  *shape
	trials int
	// first are the columns of the shape's first fields, and others those of the rest.
	first  [usual]column
	others []column
	// index has the trials' indexes, and ties what comes before these where a field is equal: see listing.Ties.
	index, ties column
}

// usual is how many columns most studies have at most.
const usual = 5

// shape is which columns there are.
type shape struct {
	ranking listing.Ranking
	metrics []string
	fields  []listing.Field
	names   []string
}

// latest is the shape that was made last. Those of a study's parts are mostly the same.
var latest atomic.Pointer[shape]

// shapeOf returns the shape of trials that have these metrics, in the order of their names.
func shapeOf(ranking listing.Ranking, metrics []string) *shape {
	if last := latest.Load(); last != nil && last.ranking == ranking && slices.Equal(last.metrics, metrics) {
		return last
	}
	s := &shape{ranking: ranking, metrics: metrics, fields: listing.Outcomes(ranking, metrics)}
	for _, field := range s.fields {
		s.names = append(s.names, field.Name)
	}
	latest.Store(s)
	return s
}

// column has a number of each trial.
type column struct {
	// lowest and highest are those that are not missing. If all are missing, lowest is above highest.
	lowest, highest uint64
	// values is nil if the numbers are first, first + step, first + 2 * step and so on, as most are: then they take no memory.
	first, step uint64
	values      []uint64
	// missing says that some are.
	missing bool
	// follows says that the values of the trials follow from their numbers: see listing.Field.Follows.
	follows bool
}

// Of returns the columns of trials, as they are presented, of a study that is ranked so.
func Of(ranking listing.Ranking, trials iter.Seq[*trellisv1.Trial]) *Columns {
	all := slices.Collect(trials)
	metrics := map[string]bool{}
	for _, trial := range all {
		for name := range trial.Metrics {
			metrics[name] = true
		}
	}
	c := &Columns{trials: len(all), shape: shapeOf(ranking, slices.Sorted(maps.Keys(metrics)))}
	numbers := make([]uint64, len(all))
	newColumn := func(of func(*trellisv1.Trial) uint64) column {
		for i, trial := range all {
			numbers[i] = of(trial)
		}
		return compressed(numbers)
	}
	c.index, c.ties = newColumn((*trellisv1.Trial).GetIndex), newColumn(listing.Ties)
	c.others = make([]column, max(0, len(c.shape.fields)-usual))
	for i, field := range c.shape.fields {
		its := c.column(i)
		*its = newColumn(field.Order)
		its.follows = !slices.ContainsFunc(all, func(trial *trellisv1.Trial) bool { return !field.Follows(trial) })
	}
	return c
}

// compressed returns a column of numbers, which it does not keep.
func compressed(numbers []uint64) column {
	c := column{lowest: listing.Missing}
	follows := true
	for i, number := range numbers {
		switch i {
		case 0:
			c.first = number
		case 1:
			c.step = number - c.first
		}
		follows = follows && number == c.first+uint64(i)*c.step
		if number == listing.Missing {
			c.missing = true
			continue
		}
		c.lowest, c.highest = min(c.lowest, number), max(c.highest, number)
	}
	if !follows {
		c.values = slices.Clone(numbers)
	}
	return c
}

func (c *column) at(i int) uint64 {
	if c.values == nil {
		return c.first + uint64(i)*c.step
	}
	return c.values[i]
}

// allMissing is the column of a field that no trial has.
var allMissing = func() column {
	c := compressed([]uint64{listing.Missing, listing.Missing})
	c.follows = true
	return c
}()

func (c *Columns) column(i int) *column {
	if i < usual {
		return &c.first[i]
	}
	return &c.others[i-usual]
}

func (c *Columns) field(name string) *column {
	for i, its := range c.shape.names {
		if its == name {
			return c.column(i)
		}
	}
	return &allMissing
}

// Trials returns how many trials there are.
func (c *Columns) Trials() int { return c.trials }

// Indexes appends the indexes of the trials to a list.
func (c *Columns) Indexes(to []uint64) []uint64 {
	for i := range c.trials {
		to = append(to, c.index.at(i))
	}
	return to
}

// Place returns where a trial is in the order of numbers of a field.
func (c *Columns) Place(i int, number uint64) listing.Place {
	return listing.Place{Number: number, Ties: c.ties.at(i), Index: c.index.at(i)}
}

// Numbers are those that the trials are ordered by in a field.
type Numbers struct{ of *column }

// Numbers returns those of a field.
func (c *Columns) Numbers(name string) Numbers { return Numbers{c.field(name)} }

// At returns the number of a trial.
func (n Numbers) At(i int) uint64 { return n.of.at(i) }

// Bounds returns the lowest and the highest of those that are not missing, the first of which is above the second if all are
// missing, and whether some are.
func (n Numbers) Bounds() (lowest, highest uint64, missing bool) {
	return n.of.lowest, n.of.highest, n.of.missing
}

// Within returns the bounds of the numbers in an order, those that are missing among them.
func (n Numbers) Within(by listing.Order) (lowest, highest uint64) { return n.of.within(by) }

// Follow says that the values of all trials follow from their numbers: see listing.Field.Follows.
func (n Numbers) Follow() bool { return n.of.follows }

// within returns the bounds of a column's numbers in an order.
func (c *column) within(by listing.Order) (lowest, highest uint64) {
	if c.lowest > c.highest || c.lowest == listing.Missing {
		return listing.Missing, listing.Missing
	}
	lowest, highest = by.Number(c.lowest), by.Number(c.highest)
	if lowest > highest {
		lowest, highest = highest, lowest
	}
	if c.missing {
		highest = listing.Missing
	}
	return lowest, highest
}

// bounds returns the lowest and the highest of all numbers.
func (c *column) bounds() (lowest, highest uint64) { return c.within(listing.Order{}) }

// Within says whether trials may be between two places, if their numbers in the order are between lowest and highest.
func (c *Columns) Within(lowest, highest uint64, after, before listing.Place) bool {
	if highest < after.Number || lowest > before.Number {
		return false
	}
	if highest > after.Number && lowest < before.Number {
		return true
	}
	// Many trials have the same state, or as many epochs: then ties decide, or their indexes.
	lowestTies, highestTies := c.ties.bounds()
	lowestIndex, highestIndex := c.index.bounds()
	return before.After(listing.Place{Number: lowest, Ties: lowestTies, Index: lowestIndex}) &&
		listing.Place{Number: highest, Ties: highestTies, Index: highestIndex}.After(after)
}

// Offer adds the keys of those trials to a page that are after a key in an order, unless the page has enough before them.
func (c *Columns) Offer(page *listing.Top, by listing.Order, after listing.Place) {
	its, last := c.field(by.Name()), page.Bound()
	if lowest, highest := its.within(by); !c.Within(lowest, highest, after, last) {
		return
	}
	for i := range c.trials {
		number := by.Number(its.at(i))
		if number < after.Number || number > last.Number {
			continue
		}
		at := listing.Place{Number: number, Ties: c.ties.at(i), Index: c.index.at(i)}
		if at.After(after) && last.After(at) {
			page.Offer(at)
			last = page.Bound()
		}
	}
}

// Each returns the trials with results by their indexes, each with its objective, which is NaN if it is not a finite number.
func (c *Columns) Each(ranking listing.Ranking) iter.Seq2[uint64, float64] {
	states, objectives := c.field("state"), c.field("objective")
	return func(yield func(uint64, float64) bool) {
		for i := range c.trials {
			switch trellisv1.TrialState(states.at(i)) {
			case trellisv1.TrialState_TRIAL_STATE_SUCCEEDED, trellisv1.TrialState_TRIAL_STATE_DIVERGED:
			default:
				continue
			}
			objective := math.NaN()
			if number := objectives.at(i); number != listing.Missing {
				objective = ranking.ObjectiveOf(listing.Place{Number: number}.Key())
			}
			if !yield(c.index.at(i), objective) {
				return
			}
		}
	}
}
