package forecast

import "math"

// Limits on classes: how many there may be of exactly equal runs, and how many more at each step at which similar runs
// share a class.
const (
	exactClasses  = 512
	coarseClasses = 128
	firstStep     = 0.25
)

// class is a group of runs that have the same future: the same settings and the same progress.
type class struct {
	settings
	// maxEpochs is the last epoch of a run, epochs is how many of its losses are known, and waited is for how many
	// epochs it has not improved. from is the epoch after which training continues: an attempt starts from a
	// checkpoint, and repeats the epochs after it.
	maxEpochs, epochs, waited, from int
	// trajectory is the run's own, or none if it has not started or shares its class.
	trajectory int
}

// classKey is what runs of one class have in common.
type classKey struct {
	settings
	maxEpochs, epochs, waited, from float64
	trajectory                      int
}

// classes divides runs into classes. In a large study, the first runs have exact classes. Later ones join similar
// classes, the more so the more there are.
type classes struct {
	list    []class
	numbers map[classKey]int
	// step is how far the settings of runs in a class may differ. 0: they must be equal.
	step float64
	// limit is how many classes there may be before the step grows.
	limit int
}

func newClasses() classes { return classes{numbers: map[classKey]int{}, limit: exactClasses} }

// add returns the number of a run's class.
func (c *classes) add(run class) int {
	key := c.keyOf(run)
	number, ok := c.numbers[key]
	for !ok && len(c.list) >= c.limit {
		c.coarsen()
		key = c.keyOf(run)
		number, ok = c.numbers[key]
	}
	if !ok {
		number = len(c.list)
		c.numbers[key] = number
		c.list = append(c.list, run)
	}
	return number
}

func (c *classes) keyOf(run class) classKey {
	if run.trajectory != none {
		return classKey{trajectory: run.trajectory}
	}
	key := classKey{
		settings: run.settings, maxEpochs: float64(run.maxEpochs), epochs: float64(run.epochs),
		waited: float64(run.waited),
		from:   float64(run.from), trajectory: none,
	}
	if c.step == 0 {
		return key
	}
	octaves := func(n float64) float64 { return octaves(n, c.step) }
	return classKey{
		settings:  key.settings.down(c.step),
		maxEpochs: octaves(key.maxEpochs), epochs: octaves(key.epochs), waited: octaves(key.waited),
		from:       octaves(key.from),
		trajectory: none,
	}
}

// octaves are how often a number has doubled, in steps.
func octaves(n, step float64) float64 { return math.Floor(math.Log2(1+n) / step) }

// coarsen makes more runs count as similar from now on, and makes room for more classes.
func (c *classes) coarsen() {
	c.limit = len(c.list) + coarseClasses
	c.step = max(firstStep, 2*c.step)
	c.numbers = make(map[classKey]int, len(c.list))
	for number, class := range c.list {
		key := c.keyOf(class)
		if _, taken := c.numbers[key]; !taken {
			c.numbers[key] = number
		}
	}
}
