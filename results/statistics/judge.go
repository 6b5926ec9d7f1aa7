package statistics

import (
	"cmp"
	"math"
	"slices"
)

// Plan is how sure the answer is to be, and when the data are looked at.
type Plan struct {
	// Confidence is the chance, at least, with which the truly best configuration is among the contenders.
	Confidence float64
	// First and Last say that the data are looked at when there are First seeds, and after every further one up to
	// Last. The last look takes in all seeds that there are. If Last is 0, there is one look, at everything.
	First, Last int
}

// looks are the numbers of seeds at which the data are looked at. One seed says nothing.
func (p Plan) looks() []int {
	var looks []int
	for seeds := max(p.First, 2); seeds < p.Last; seeds++ {
		looks = append(looks, seeds)
	}
	return append(looks, everything)
}

// everything is more seeds than there are.
const everything = math.MaxInt

// level is that of a single test: what may go wrong is divided over all tests of one configuration, those against each
// of the others at each look. See the package's doc.
func (p Plan) level(configurations int) float64 {
	tests := max(configurations-1, 1) * len(p.looks())
	return (1 - p.Confidence) / float64(tests)
}

// Judgement is what the data say.
type Judgement struct {
	// Order has all samples, best first: those that the last look could compare by their means, then those that it
	// could not, because they have too few seeds or an earlier look has excluded them, and last those that have
	// diverged.
	Order []int
	// Comparisons of all samples with the first of Order. Those of diverged ones are empty.
	Comparisons []Comparison
	// Level is that of each single test.
	Level float64
	// Settled says that nothing is left to be told apart: there are no contenders but the best and those that are the
	// same.
	Settled bool
}

// Judge compares samples, at least one, by the looks of the plan. Where means are equal, the earlier sample ranks
// first. The judgement follows from the data alone, in whatever order they came: looks that took place are repeated.
func Judge(samples []Sample, plan Plan) Judgement { return criticals{}.judge(samples, plan) }

func (c criticals) judge(samples []Sample, plan Plan) Judgement {
	r := newReplay(samples, plan, c)
	for _, seeds := range plan.looks() {
		r.look(seeds)
	}
	return r.judgement()
}

// NextSeed says which configurations need a further seed, as their indices, and the seed's place: at the first of the
// planned looks after which something is left to be told apart, the contenders that have not been tried with the seed
// that the next look adds. There are none if everything is settled or there is no further look.
//
// Tried says whether a sample has been tried with a seed, whatever came of it. So a seed is asked for once, even if
// training with it fails.
func NextSeed(samples []Sample, plan Plan, tried func(sample, place int) bool) (wanting []int, place int) {
	return criticals{}.nextSeed(samples, plan, tried)
}

func (c criticals) nextSeed(samples []Sample, plan Plan, tried func(sample, place int) bool) (wanting []int, place int) {
	r := newReplay(samples, plan, c)
	for seeds := plan.First; seeds < plan.Last; seeds++ {
		// One seed says nothing: whatever it gave, there is no look before the second.
		if seeds >= 2 {
			r.look(seeds)
		}
		if len(r.remaining) <= 1 || seeds >= 2 && r.settled() {
			break
		}
		place := seeds
		for _, sample := range r.remaining {
			if !tried(sample, place) {
				wanting = append(wanting, sample)
			}
		}
		if len(wanting) > 0 {
			return wanting, place
		}
	}
	return nil, 0
}

// replay repeats the looks of a plan, one by one.
type replay struct {
	samples []Sample
	// level is that of each test, critical gives its critical values for numbers of seeds.
	level    float64
	critical func(seeds int) float64
	// diverged are the samples that have no mean. Remaining are the others that no look has excluded, ascending.
	diverged, remaining []int
	// eligible are those of remaining that the last look could choose the best of, best first; means are theirs.
	eligible []int
	means    []float64
	seeds    int
	// places are above those of all observations.
	places int
}

func newReplay(samples []Sample, plan Plan, c criticals) *replay {
	r := &replay{samples: samples, level: plan.level(len(samples)), means: make([]float64, len(samples))}
	r.critical = func(seeds int) float64 { return c.of(r.level, seeds) }
	for i, sample := range samples {
		if sample.Finite() {
			r.remaining = append(r.remaining, i)
		} else {
			r.diverged = append(r.diverged, i)
		}
		if len(sample) > 0 {
			r.places = max(r.places, sample[len(sample)-1].Place+1)
		}
	}
	return r
}

// look excludes what is worse than the best with the first seeds.
func (r *replay) look(seeds int) {
	r.choose(seeds)
	if len(r.eligible) == 0 {
		return
	}
	best := r.samples[r.eligible[0]].until(seeds)
	excluded := func(i int) bool {
		p := compare(r.samples[i], best)
		return p.worse(r.critical)
	}
	r.remaining = slices.DeleteFunc(r.remaining, excluded)
}

// choose finds those that the best is to be chosen of, and ranks them by the means of the first seeds. A lucky seed
// must not win against five ordinary ones, and a configuration that is ahead of the others in its training, or the only
// one that did not fail with some seed, must not win by that. So a seed counts if at least half of the remaining
// configurations have it, and eligible are those that have the most of the seeds that count.
func (r *replay) choose(seeds int) {
	r.seeds = seeds
	r.eligible = r.eligible[:0]
	counts := make([]int, r.places)
	for _, i := range r.remaining {
		for _, o := range r.samples[i].until(seeds) {
			counts[o.Place]++
		}
	}
	most := -1
	for _, i := range r.remaining {
		common := 0
		sample := r.samples[i].until(seeds)
		if len(sample) == 0 {
			continue
		}
		for _, o := range sample {
			if 2*counts[o.Place] >= len(r.remaining) {
				common++
			}
		}
		if common > most {
			most, r.eligible = common, r.eligible[:0]
		}
		if common == most {
			r.eligible = append(r.eligible, i)
			r.means[i] = sample.Mean()
		}
	}
	slices.SortStableFunc(r.eligible, func(a, b int) int { return cmp.Compare(r.means[a], r.means[b]) })
}

// settled says whether all that remains is the best and what is the same.
func (r *replay) settled() bool {
	if len(r.remaining) <= 1 {
		return true
	}
	if len(r.eligible) == 0 {
		return false
	}
	best := r.samples[r.eligible[0]].until(r.seeds)
	for _, i := range r.remaining {
		if i != r.eligible[0] && !compare(r.samples[i], best).same {
			return false
		}
	}
	return true
}

// judgement is what the looks so far say.
func (r *replay) judgement() Judgement {
	j := Judgement{Comparisons: make([]Comparison, len(r.samples)), Level: r.level, Settled: r.settled()}
	j.Order = append(j.Order, r.eligible...)
	ranked := make([]bool, len(r.samples))
	for _, i := range append(slices.Clone(r.eligible), r.diverged...) {
		ranked[i] = true
	}
	first := len(j.Order)
	for i, sample := range r.samples {
		if !ranked[i] {
			r.means[i] = sample.Mean()
			j.Order = append(j.Order, i)
		}
	}
	slices.SortStableFunc(j.Order[first:], func(a, b int) int { return cmp.Compare(r.means[a], r.means[b]) })
	j.Order = append(j.Order, r.diverged...)
	if len(r.eligible) == 0 {
		return j
	}
	best := r.samples[r.eligible[0]]
	for _, i := range j.Order[:len(r.samples)-len(r.diverged)] {
		p := compare(r.samples[i], best)
		j.Comparisons[i] = p.comparison(r.critical)
	}
	for _, i := range r.remaining {
		j.Comparisons[i].Contender = true
	}
	return j
}
