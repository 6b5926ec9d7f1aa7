package statistics

import (
	"math"
	"math/bits"
	"slices"
)

// Plan says which confidence the answer must have, and when the data are looked at.
type Plan struct {
	// Confidence is the minimum probability that the truly best configuration is among the contenders.
	Confidence float64
	// The data are looked at when there are First seeds, and after every further seed up to Last. The last look uses
	// all seeds. If Last is 0, there is a single look at everything.
	First, Last int
}

// looks returns the numbers of seeds at which the data are looked at. A single seed says nothing.
func (p Plan) looks() []int {
	var looks []int
	for seeds := max(p.First, 2); seeds < p.Last; seeds++ {
		looks = append(looks, seeds)
	}
	return append(looks, everything)
}

// everything is more seeds than there can be.
const everything = math.MaxInt

// level returns the level of a single test. The error probability is divided among all tests of one configuration:
// those against each of the others at each look. See the package documentation.
func (p Plan) level(configurations int) float64 {
	tests := max(configurations-1, 1) * len(p.looks())
	return (1 - p.Confidence) / float64(tests)
}

// Judgement is the result of comparing samples.
type Judgement struct {
	// Order has all samples, best first: first those that the last look could compare, by their means; then those that
	// it could not compare, because they have too few seeds or an earlier look has excluded them; last those that have
	// diverged.
	Order []int
	// Comparisons has the comparisons of all samples with the first of Order. Those of diverged samples are empty.
	Comparisons []Comparison
	// Level is the level of each single test.
	Level float64
	// Settled says that no tie is left: the only contenders are the best and those that are the same.
	Settled bool
}

// Judge compares samples, at least one, at the looks of the plan. If means are equal, the earlier sample ranks first.
// The judgement depends only on the data, not on the order in which they arrived: earlier looks are repeated.
func Judge(samples []Sample, plan Plan) Judgement { return criticals{}.judge(samples, plan) }

// JudgeKnown is Judge of samples of which more is known already: see Know. What it remembers of an earlier judgement makes it
// faster, and changes nothing; nil remembers nothing. positions are those of the samples in the memory.
func JudgeKnown(samples []Sample, known []Known, plan Plan, memory *Memory, positions []uint32) Judgement {
	return criticals{}.judgeKnown(samples, known, plan, memory, positions)
}

func (c criticals) judge(samples []Sample, plan Plan) Judgement {
	return c.judgeKnown(samples, knowAll(samples), plan, nil, nil)
}

func (c criticals) judgeKnown(
	samples []Sample, known []Known, plan Plan, memory *Memory, positions []uint32,
) Judgement {
	r := newReplay(samples, known, plan, c)
	r.memory, r.positions = memory, positions
	for _, seeds := range plan.looks() {
		r.look(seeds)
	}
	return r.judgement()
}

// NextSeed returns the indices of the configurations that need another seed, and the seed's place. It takes the first
// of the planned looks after which a tie is left and contenders lack the seed that the next look adds. It returns these
// contenders. There are none if everything is settled, or if there is no further look.
//
// tried says whether a sample has been tried with a seed, whatever the outcome. So a seed is requested only once, even
// if training with it fails.
func NextSeed(samples []Sample, plan Plan, tried func(sample, place int) bool) (wanting []int, place int) {
	return criticals{}.nextSeed(samples, plan, tried)
}

func (c criticals) nextSeed(samples []Sample, plan Plan, tried func(sample, place int) bool) (wanting []int, place int) {
	r := newReplay(samples, knowAll(samples), plan, c)
	for seeds := plan.First; seeds < plan.Last; seeds++ {
		// A single seed says nothing, so there is no look before the second.
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
	known   []Known
	// level is the level of each test. critical returns its critical value for a number of seeds.
	level    float64
	critical func(seeds int) float64
	// diverged are the samples without a mean. remaining are the others that no look has excluded, ascending.
	diverged, remaining []int
	// eligible are those of remaining from which the last look could choose the best, best first. means has their
	// means.
	eligible []int
	means    []float64
	seeds    int
	// places is larger than the places of all observations.
	places int
	// pairs compare all observations of the samples with those of the sample pairedWith, where that has been done. It is -1 if none is.
	pairs      []pair
	pairedWith int
	// memory is of an earlier judgement, where the samples have positions. It may be nil.
	memory    *Memory
	positions []uint32
}

func newReplay(samples []Sample, known []Known, plan Plan, c criticals) *replay {
	r := &replay{
		samples: samples, known: known, level: plan.level(len(samples)), means: make([]float64, len(samples)), pairedWith: -1,
	}
	// The last critical value is asked for again and again.
	lastSeeds, last := -1, 0.0
	r.critical = func(seeds int) float64 {
		if seeds != lastSeeds {
			lastSeeds, last = seeds, c.of(r.level, seeds)
		}
		return last
	}
	for i, sample := range samples {
		if known[i].Finite {
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

// look excludes samples that are worse than the best with the first seeds.
func (r *replay) look(seeds int) {
	r.choose(seeds)
	if len(r.eligible) == 0 {
		return
	}
	best := r.samples[r.eligible[0]].until(seeds)
	if len(best) == len(r.samples[r.eligible[0]]) {
		r.pairs, r.pairedWith = make([]pair, len(r.samples)), r.eligible[0]
	}
	excluded := func(i int) bool {
		var p pair
		if r.pairedWith == r.eligible[0] {
			p = r.compareWhole(i, best)
			r.pairs[i] = p
		} else {
			p = compare(r.samples[i], best)
		}
		return p.worse(r.critical)
	}
	r.remaining = slices.DeleteFunc(r.remaining, excluded)
}

// choose finds the configurations from which the best is chosen, and ranks them by the means of the first seeds. One
// lucky seed must not win against five ordinary ones. Nor must a configuration win because its training is ahead of the
// others, or because it is the only one that did not fail with some seed. So a seed counts if at least half of the
// remaining configurations have it, and configurations are eligible if they have the largest number of seeds that
// count.
func (r *replay) choose(seeds int) {
	r.seeds = seeds
	r.eligible = r.eligible[:0]
	counts := r.count(seeds)
	usual := uint64(0) // The places that count, of the first 64.
	for place, count := range counts[:min(len(counts), 64)] {
		if 2*count >= len(r.remaining) {
			usual |= 1 << place
		}
	}
	most := -1
	for _, i := range r.remaining {
		places, common := r.known[i].until(seeds), 0
		sample := r.samples[i]
		switch {
		case places != 0:
			if common = bits.OnesCount64(places & usual); places != r.known[i].places {
				sample = sample.until(seeds)
			}
		default:
			if sample = sample.until(seeds); len(sample) == 0 {
				continue
			}
			for _, o := range sample {
				if 2*counts[o.Place] >= len(r.remaining) {
					common++
				}
			}
		}
		if common > most {
			most, r.eligible = common, r.eligible[:0]
		}
		if common == most {
			r.eligible = append(r.eligible, i)
			r.means[i] = r.meanUntil(i, sample)
		}
	}
	r.sort(r.eligible)
}

// count returns how many of the remaining samples have an observation at each place of the first seeds.
func (r *replay) count(seeds int) []int {
	counts := make([]int, r.places)
	// Most samples have the same places.
	last, samples := uint64(0), 0
	add := func() {
		for places := last; places != 0; places &= places - 1 {
			counts[bits.TrailingZeros64(places)] += samples
		}
	}
	for _, i := range r.remaining {
		places := r.known[i].until(seeds)
		if places == 0 {
			for _, o := range r.samples[i].until(seeds) {
				counts[o.Place]++
			}
			continue
		}
		if places != last {
			add()
			last, samples = places, 0
		}
		samples++
	}
	add()
	return counts
}

// meanUntil returns the mean of the first observations of a sample.
func (r *replay) meanUntil(i int, sample Sample) float64 {
	if len(sample) == len(r.samples[i]) {
		return r.known[i].Mean
	}
	return sample.Mean()
}

// settled says whether only the best remains, and those that are the same.
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

// judgement returns the result of the looks so far.
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
			r.means[i] = r.meanUntil(i, sample)
			j.Order = append(j.Order, i)
		}
	}
	r.sort(j.Order[first:])
	j.Order = append(j.Order, r.diverged...)
	if len(r.eligible) == 0 {
		return j
	}
	if r.memory != nil {
		r.remember(j.Order)
	}
	best := r.samples[r.eligible[0]]
	for _, i := range j.Order[:len(r.samples)-len(r.diverged)] {
		p := pair{}
		if r.pairedWith == r.eligible[0] {
			p = r.pairs[i]
		}
		if p.n == 0 {
			p = compare(r.samples[i], best)
		}
		j.Comparisons[i] = p.comparison(r.critical)
	}
	for _, i := range r.remaining {
		j.Comparisons[i].Contender = true
	}
	return j
}
