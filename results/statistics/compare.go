package statistics

import (
	"math"
	"sort"
)

// precision is the precision of float32, in which losses are computed. See pair.deviation.
const precision = 1.0 / (1 << 24)

// Comparison says how a configuration compares with the best one found.
type Comparison struct {
	// Contender says that the configuration is statistically tied with the best. It is true for the best itself.
	Contender bool
	// Same says that it has exactly the same objectives as the best for all seeds that both have, at least two.
	Same bool
	// Seeds is how many seeds both have. If there are fewer than two, the fields below are not known.
	Seeds int
	// Difference is how much higher the objective is than the best's, averaged over the seeds that both have.
	Difference float64
	// Interval has the bounds of the expected difference. Each bound holds separately at the judgement's level. The
	// configuration is excluded if the lower bound is above 0.
	Interval Interval
	// Deviation is the standard deviation of the differences.
	Deviation float64
}

// pair collects the differences of two samples, paired by seed.
type pair struct {
	moments
	// largest is the largest absolute objective.
	largest float64
	same    bool
}

// compare collects how much higher a's objectives are than b's.
func compare(a, b Sample) pair {
	p := pair{same: true}
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].Place < b[0].Place:
			a = a[1:]
		case a[0].Place > b[0].Place:
			b = b[1:]
		default:
			p.add(a[0].Objective - b[0].Objective)
			p.largest = max(p.largest, math.Abs(a[0].Objective), math.Abs(b[0].Objective))
			p.same = p.same && a[0].Objective == b[0].Objective
			a, b = a[1:], b[1:]
		}
	}
	p.same = p.same && p.n >= 2
	return p
}

// deviation returns the standard deviation of the differences, but at least the rounding error of objectives of that
// size in float32.
//
// So a difference that is the same for all seeds, for example of objectives that don't depend on the seed, counts as
// known to float32's precision: with two seeds, a large one is significant, and one near the rounding error is not.
// Without this, two seeds with equal differences would be infinitely significant, no matter how small the differences
// are. If noise is much larger than rounding, so that repeating makes sense, two differences agree to float32's
// precision by chance about once in noise/rounding times. This is rarer than the levels of the tests.
func (p *pair) deviation() float64 { return max(p.moments.deviation(), precision*p.largest) }

// worse says whether the differences are significantly above 0, by the critical value for their number of seeds. With
// fewer than two seeds it returns false.
func (p *pair) worse(critical func(seeds int) float64) bool {
	if p.n < 2 || p.same {
		return false
	}
	return p.mean > critical(p.n)*p.deviation()/math.Sqrt(float64(p.n))
}

// comparison returns how the pair's first sample compares with its second, the best.
func (p *pair) comparison(critical func(seeds int) float64) Comparison {
	c := Comparison{
		Same: p.same, Seeds: p.n, Difference: math.NaN(), Interval: Interval{
			math.NaN(),
			math.NaN(),
		}, Deviation: math.NaN(),
	}
	if p.n >= 2 {
		c.Difference, c.Deviation = p.mean, p.deviation()
		if p.same {
			c.Deviation = 0
		}
		half := critical(p.n) * c.Deviation / math.Sqrt(float64(p.n))
		c.Interval = Interval{c.Difference - half, c.Difference + half}
	}
	return c
}

// MaxSeedsNeeded is the largest number of seeds that SeedsNeeded considers.
const MaxSeedsNeeded = 1000

// SeedsNeeded returns the number of seeds with which the configuration would differ significantly from the best at the
// level, if the mean and the deviation of the differences stayed as they are. ok is false if MaxSeedsNeeded seeds would
// not be enough, or if nothing is known.
func (c Comparison) SeedsNeeded(level float64) (seeds int, ok bool) {
	if c.Seeds < 2 || !(c.Difference > 0) {
		return 0, false
	}
	// More seeds never make it harder: the standard error and the critical value both fall.
	seeds = c.Seeds + sort.Search(MaxSeedsNeeded+1-c.Seeds, func(more int) bool {
		n := c.Seeds + more
		return c.Difference > Critical(level, n)*c.Deviation/math.Sqrt(float64(n))
	})
	return seeds, seeds <= MaxSeedsNeeded
}
