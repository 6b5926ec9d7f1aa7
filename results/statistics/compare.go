package statistics

import (
	"math"
	"sort"
)

// precision is that of float32, in which losses are computed. See pair.deviation.
const precision = 1.0 / (1 << 24)

// Comparison is how a configuration compares with the best one found.
type Comparison struct {
	// Contender says that it can't be told apart from the best. True of the best itself.
	Contender bool
	// Same says that it gave exactly the same objectives as the best with all the seeds that both have, two at least.
	Same bool
	// Seeds is how many seeds both have. If fewer than two, nothing of what follows is known.
	Seeds int
	// Difference is how much higher the objective is than the best's, on average over the seeds that both have.
	Difference float64
	// Interval has the bounds of the expected difference. Each by itself holds at the judgement's level. The
	// configuration is excluded where the lower one is above 0.
	Interval Interval
	// Deviation is that of the differences.
	Deviation float64
}

// pair gathers the differences of two samples, paired by seed.
type pair struct {
	moments
	// largest is the largest absolute objective.
	largest float64
	same    bool
}

// compare gathers how much higher a's objectives are than b's.
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

// deviation is that of the differences, but at least what rounding makes of objectives of that size in float32.
//
// So a difference that is the same for all seeds, as of objectives that don't depend on the seed at all, counts as one
// that is known to float32's precision: large ones are told apart with two seeds, those near the limits of rounding are
// not. Without it, two seeds with equal differences would be infinitely significant, however small these are. Where
// noise is so much larger than rounding that it is worth repeating anything, two differences agree to float32's
// precision by chance about once in noise/rounding times, which is rarer than the levels that tests are made at.
func (p *pair) deviation() float64 { return max(p.moments.deviation(), precision*p.largest) }

// worse says whether the differences are above 0, by the critical values for a number of seeds. Never below two seeds.
func (p *pair) worse(critical func(seeds int) float64) bool {
	if p.n < 2 || p.same {
		return false
	}
	return p.mean > critical(p.n)*p.deviation()/math.Sqrt(float64(p.n))
}

// comparison says how the pair's first sample compares with the best, its second.
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

// MaxSeedsNeeded is how many seeds SeedsNeeded looks ahead.
const MaxSeedsNeeded = 1000

// SeedsNeeded is with how many seeds a comparison would tell its configuration from the best at the level, if the mean
// and the deviation of the differences stayed as they are. Not ok if MaxSeedsNeeded would not do, or nothing is known.
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
