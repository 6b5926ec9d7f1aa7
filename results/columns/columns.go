package columns

import (
	"iter"
	"maps"
	"math"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/listing"
)

// Columns are the numbers that some trials are ordered by. They are immutable.
type Columns struct {
	trials int
	// index has the trials' indexes, and ties what comes before these where a field is equal: see listing.Ties.
	index, ties column
	fields      []named
}

// named is the column of a field.
type named struct {
	name string
	column
	// follows says that the values of the trials follow from their numbers: see listing.Field.Follows.
	follows bool
}

// column has a number of each trial.
type column struct {
	// values is nil if the numbers are first, first + step, first + 2 * step and so on, as most are: then they take no memory.
	values      []uint64
	first, step uint64
	// lowest and highest are those that are not missing. If all are missing, lowest is above highest.
	lowest, highest uint64
	// missing says that some are.
	missing bool
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
	c := &Columns{trials: len(all)}
	numbers := make([]uint64, len(all))
	newColumn := func(of func(*trellisv1.Trial) uint64) column {
		for i, trial := range all {
			numbers[i] = of(trial)
		}
		return compressed(numbers)
	}
	c.index, c.ties = newColumn((*trellisv1.Trial).GetIndex), newColumn(listing.Ties)
	fields := listing.Outcomes(ranking, slices.Sorted(maps.Keys(metrics)))
	c.fields = make([]named, 0, len(fields))
	for _, field := range fields {
		follows := !slices.ContainsFunc(all, func(trial *trellisv1.Trial) bool { return !field.Follows(trial) })
		c.fields = append(c.fields, named{field.Name, newColumn(field.Order), follows})
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
var allMissing = named{column: compressed([]uint64{listing.Missing, listing.Missing}), follows: true}

func (c *Columns) field(name string) *column { return &c.named(name).column }

func (c *Columns) named(name string) *named {
	for i := range c.fields {
		if c.fields[i].name == name {
			return &c.fields[i]
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
type Numbers struct{ of *named }

// Numbers returns those of a field.
func (c *Columns) Numbers(name string) Numbers { return Numbers{c.named(name)} }

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

// Offer adds the keys of those trials to a page that are after a key in an order, unless the page has enough before them.
func (c *Columns) Offer(page *listing.Top, by listing.Order, after listing.Place) {
	its := c.field(by.Name())
	lowest, highest := its.within(by)
	last := page.Bound()
	if highest < after.Number || lowest > last.Number {
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
