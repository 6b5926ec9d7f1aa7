package answer

import (
	"fmt"
	"slices"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// describeAdvice says what would settle a verdict on a study, or nothing. kept says that commands find the study later.
func describeAdvice(study *trellisv1.Study, advice *trellisv1.Advice, kept bool) string {
	needed := fmt.Sprintf("about %d seeds", advice.GetSeedsNeeded())
	if advice.GetBeyond() {
		needed = fmt.Sprintf("more than %d seeds", advice.GetSeedsNeeded())
	}
	switch advice.GetKind() {
	case trellisv1.Advice_KIND_ONE_SEED:
		return "With one seed, a difference may be chance. Repeat every configuration with more " +
			"seeds: " + moreSeeds(study, advice, kept)
	case trellisv1.Advice_KIND_SETTLING:
		return fmt.Sprintf("The coordinator adds seeds to the tied configurations until one is clearly the best or "+
			"they have %d.",
			study.GetSpec().GetSettle().GetMaxSeeds())
	case trellisv1.Advice_KIND_NOT_ENDED:
		return "The study has not ended: this may change."
	case trellisv1.Advice_KIND_UNKNOWN:
		return "It is unknown how many seeds would settle it: a tied configuration lacks seeds of the best, or is " +
			"no worse with the seeds of both."
	case trellisv1.Advice_KIND_TOO_MANY_SEEDS:
		return fmt.Sprintf(
			"It would take %s to separate them: they differ little compared with their variation between seeds.",
			needed,
		)
	case trellisv1.Advice_KIND_MORE_SEEDS:
		needed := fmt.Sprintf("It would take %s to separate them, if the differences stay as they are. ", needed)
		if study.GetSpec().GetSettle() != nil {
			return needed + fmt.Sprintf(
				"Submit the spec under another name with settle: {max_seeds: %d}: only what is new is trained.",
				advice.GetSeedsNeeded(),
			)
		}
		return needed + "Add seeds: " + moreSeeds(study, advice, kept)
	}
	return ""
}

// moreSeeds says how to give every configuration of a study more seeds: by a command or, where that can't work as where
// a budget leaves out a part of the grid, by a spec with all of them.
func moreSeeds(study *trellisv1.Study, advice *trellisv1.Advice, kept bool) string {
	if !kept || isCanceled(study) || grid.Sampled(study.GetSpec()) {
		all := slices.Concat(grid.SeedsOf(study.GetSpec()), advice.GetAddSeeds())
		return fmt.Sprintf("put seeds: [%s] into the spec", strings.Trim(strings.ReplaceAll(fmt.Sprint(all), " ", ", "), "[]"))
	}
	seeds := strings.Trim(strings.ReplaceAll(fmt.Sprint(advice.GetAddSeeds()), " ", ","), "[]")
	return fmt.Sprintf("trellis extend %s --seeds %s", study.GetName(), seeds)
}
