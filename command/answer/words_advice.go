package answer

import (
	"fmt"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
)

// describeAdvice says what would settle a verdict on a study, or nothing.
func describeAdvice(study *trellisv1.Study, advice *trellisv1.Advice) string {
	needed := fmt.Sprintf("about %d seeds", advice.GetSeedsNeeded())
	if advice.GetBeyond() {
		needed = fmt.Sprintf("more than %d seeds", advice.GetSeedsNeeded())
	}
	switch advice.GetKind() {
	case trellisv1.Advice_KIND_ONE_SEED:
		return "With one seed, chance can't be told from a real difference. Repeat every configuration with " +
			"more seeds: " + extendBySeeds(study, advice)
	case trellisv1.Advice_KIND_SETTLING:
		return fmt.Sprintf("The coordinator adds seeds to the contenders until they differ or have %d.",
			study.GetSpec().GetSettle().GetMaxSeeds())
	case trellisv1.Advice_KIND_NOT_ENDED:
		return "The study has not ended. More is known then."
	case trellisv1.Advice_KIND_UNKNOWN:
		return "How many seeds would settle it is unknown: a contender lacks seeds that the best has, or is no " +
			"worse where both have the same."
	case trellisv1.Advice_KIND_TOO_MANY_SEEDS:
		return fmt.Sprintf(
			"It would take %s to tell them apart, as they differ little compared with their scatter over the seeds.",
			needed,
		)
	case trellisv1.Advice_KIND_MORE_SEEDS:
		needed := fmt.Sprintf("It would take %s to tell them apart, if the differences stay as they are. ", needed)
		if study.GetSpec().GetSettle() != nil {
			return needed + fmt.Sprintf(
				"Submit the spec under another name with settle: {max_seeds: %d}, which trains only what is new.",
				advice.GetSeedsNeeded(),
			)
		}
		return needed + "Add them: " + extendBySeeds(study, advice)
	}
	return ""
}

// extendBySeeds is the command that gives every configuration of a study more seeds.
func extendBySeeds(study *trellisv1.Study, advice *trellisv1.Advice) string {
	seeds := strings.Trim(strings.ReplaceAll(fmt.Sprint(advice.GetAddSeeds()), " ", ","), "[]")
	return fmt.Sprintf("trellis extend %s --seeds %s", study.GetName(), seeds)
}
