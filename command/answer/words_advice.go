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
		return "With one seed, a difference may be chance. Repeat every configuration with more " +
			"seeds: " + extendBySeeds(study, advice)
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
		return needed + "Add seeds: " + extendBySeeds(study, advice)
	}
	return ""
}

// extendBySeeds is the command that gives every configuration of a study more seeds.
func extendBySeeds(study *trellisv1.Study, advice *trellisv1.Advice) string {
	seeds := strings.Trim(strings.ReplaceAll(fmt.Sprint(advice.GetAddSeeds()), " ", ","), "[]")
	return fmt.Sprintf("trellis extend %s --seeds %s", study.GetName(), seeds)
}
