package insight

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/statistics"
)

const (
	// fewSeeds is how many more seeds are proposed to a study that has one.
	fewSeeds = 4
	// manySeeds is from how many more seeds on it is better to live with a tie.
	manySeeds = 20
)

// adviceForOneSeed says how to find out what is chance.
func adviceForOneSeed(study *trellisv1.Study) string {
	return "with one seed, chance can't be told from a difference: repeat every configuration with more, by " +
		extendBySeeds(study.Name, grid.Seeds(study.Spec), fewSeeds)
}

// extendBySeeds is the command that gives every configuration of a study n more seeds, the smallest that it has not used.
func extendBySeeds(study string, used []uint32, n int) string {
	var seeds []string
	for seed := uint32(1); len(seeds) < n; seed++ {
		if !slices.Contains(used, seed) {
			seeds = append(seeds, strconv.FormatUint(uint64(seed), 10))
		}
	}
	return fmt.Sprintf("`trellis extend %s --seeds %s`", study, strings.Join(seeds, ","))
}

// advice says what would settle a verdict that is not.
func (c *comparison) advice() string {
	settle := c.study.Spec.GetSettle()
	going := c.study.State == trellisv1.StudyState_STUDY_STATE_RUNNING || c.study.State == trellisv1.StudyState_STUDY_STATE_PAUSED
	switch {
	case going && settle != nil && !c.study.Settled:
		return fmt.Sprintf("the coordinator gives the contenders more seeds by itself, until they part or have %d", settle.GetMaxSeeds())
	case going:
		return "the study has not ended: more will be known then"
	case c.bestSeeds() < 2:
		return adviceForOneSeed(c.study)
	}
	needed, known := c.seedsNeeded()
	more := needed - c.bestSeeds()
	switch {
	case !known:
		return "how many seeds would settle it can't be estimated: a contender lacks seeds that the best has, or is no worse where both " +
			"have the same"
	case more > manySeeds:
		return fmt.Sprintf("the contenders differ little beside how they scatter over the seeds: if that stayed as it is, it would take %s seeds to "+
			"settle it",
			boundedSeeds(needed))
	case settle != nil:
		return fmt.Sprintf("about %d seeds would settle it, if the differences stayed as they are: submit the spec under another name with "+
			"settle: {max_seeds: %d}, which trains only what is new", needed, needed)
	}
	return fmt.Sprintf("about %d seeds would settle it, if the differences stayed as they are: %s", needed,
		extendBySeeds(c.study.Name, c.seeds, more))
}

func boundedSeeds(needed int) string {
	if needed > statistics.MaxSeedsNeeded {
		return fmt.Sprintf("more than %d", statistics.MaxSeedsNeeded)
	}
	return fmt.Sprintf("about %d", needed)
}

// seedsNeeded is how many seeds the contender that is hardest to tell from the best would need, more than the best has. Known
// only if all that are not the same lie above the best, with as many seeds.
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
