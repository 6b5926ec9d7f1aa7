package insight

import (
	"math"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/statistics"
)

const (
	// fewSeeds is how many more seeds are suggested for a study with one seed.
	fewSeeds = 4
	// manySeeds is the number of additional seeds from which on it is better to accept a tie.
	manySeeds = 20
)

// adviceForOneSeed returns the advice for a study with one seed.
func adviceForOneSeed(study *trellisv1.Study) *trellisv1.Advice {
	return &trellisv1.Advice{
		Kind: trellisv1.Advice_KIND_ONE_SEED, AddSeeds: unusedSeeds(grid.SeedsOf(study.GetSpec()), fewSeeds),
	}
}

// unusedSeeds returns the n smallest seeds that are not used.
func unusedSeeds(used []uint32, n int) (seeds []uint32) {
	for seed := uint32(1); len(seeds) < n; seed++ {
		if !slices.Contains(used, seed) {
			seeds = append(seeds, seed)
		}
	}
	return seeds
}

// advice returns what would settle a verdict that is not settled.
func (c *comparison) advice() *trellisv1.Advice {
	settle := c.study.Spec.GetSettle()
	running := c.study.State == trellisv1.StudyState_STUDY_STATE_RUNNING ||
		c.study.State == trellisv1.StudyState_STUDY_STATE_PAUSED
	switch {
	case running && settle != nil && !c.study.Settled:
		return &trellisv1.Advice{Kind: trellisv1.Advice_KIND_SETTLING}
	case running:
		return &trellisv1.Advice{Kind: trellisv1.Advice_KIND_NOT_ENDED}
	case c.bestSeeds() < 2:
		return adviceForOneSeed(c.study)
	}
	needed, known := c.seedsNeeded()
	if !known {
		return &trellisv1.Advice{Kind: trellisv1.Advice_KIND_UNKNOWN}
	}
	advice := &trellisv1.Advice{
		Kind:        trellisv1.Advice_KIND_MORE_SEEDS,
		SeedsNeeded: uint32(min(needed, statistics.MaxSeedsNeeded)),
		Beyond:      needed > statistics.MaxSeedsNeeded,
	}
	if more := needed - c.bestSeeds(); more > manySeeds {
		advice.Kind = trellisv1.Advice_KIND_TOO_MANY_SEEDS
	} else {
		advice.AddSeeds = unusedSeeds(c.seeds, more)
	}
	return advice
}

// seedsNeeded returns how many seeds the contender closest to the best would need, beyond those that the best has. It
// is known only if all contenders that are not the same as the best are above it and have as many seeds.
func (c *comparison) seedsNeeded() (seeds int, known bool) {
	hardest, effect := -1, math.Inf(1)
	for _, at := range c.judgement.Order[1:] {
		versus := c.judgement.Comparisons[at]
		if !versus.Contender || versus.Same {
			continue
		}
		if versus.Seeds < c.bestSeeds() || !(versus.Difference > 0) {
			return 0, false
		}
		if its := versus.Difference / versus.Deviation; hardest < 0 || its < effect {
			hardest, effect = at, its
		}
	}
	if hardest < 0 {
		return 0, false
	}
	seeds, _ = c.judgement.Comparisons[hardest].SeedsNeeded(c.judgement.Level)
	return seeds, true
}
