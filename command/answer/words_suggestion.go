package answer

import (
	"fmt"
	"strings"

	"trellis/command/describe"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// describeSuggestion says why a study is suggested, axis by axis.
func describeSuggestion(suggestion *trellisv1.SuggestStudyResponse) (reasons []string) {
	for _, choice := range suggestion.GetAxes() {
		reasons = append(reasons, describeChoice(choice, suggestion.GetObjective()))
	}
	switch pruned := suggestion.GetPruned(); pruned {
	case 0:
	case 1:
		reasons = append(reasons, "1 pruned configuration is left out, and it may be the best")
	default:
		reasons = append(reasons, fmt.Sprintf("%d pruned configurations are left out, and the best may be among "+
			"them", pruned))
	}
	return reasons
}

// describeChoice says which values an axis has, and why, and which it can't have.
func describeChoice(choice *trellisv1.AxisChoice, ranked *trellisv1.Objective) string {
	text := describeValues(choice, ranked)
	if unfit := fewInWords(choice.GetUnfit()); unfit != "" && choice.GetReason() != trellisv1.AxisChoice_REASON_UNFIT {
		text += fmt.Sprintf("; without %s, with which not all networks fit the images", unfit)
	}
	return text
}

// describeValues says which values an axis has, and why.
func describeValues(choice *trellisv1.AxisChoice, ranked *trellisv1.Objective) string {
	best := valueInWords(choice.GetBest())
	values := valuesInWords(choice.GetValues())
	if why := whyItStays(choice, ranked, best); why != "" {
		return fmt.Sprintf("%s stays at %s: %s", choice.GetAxis(), values, why)
	}
	if choice.GetReason() == trellisv1.AxisChoice_REASON_CONTENDERS {
		return fmt.Sprintf("%s keeps %s, which the best quarter of the configurations have; the axis and its interactions "+
			"explain %.0f%% of the variation", choice.GetAxis(), values, 100*choice.GetTotal())
	}
	if choice.GetReason() == trellisv1.AxisChoice_REASON_STILL_BETTER {
		return fmt.Sprintf("%s grows to %s: the best configuration was still improving at epoch %d of %s",
			choice.GetAxis(), valueInWords(choice.GetValues()[len(choice.GetValues())-1]), choice.GetEpoch(), best)
	}
	return fmt.Sprintf("%s becomes %s: %s; the axis and its interactions explain %.0f%% of the variation",
		choice.GetAxis(), values, whereItStands(choice, best), 100*choice.GetTotal())
}

// whyItStays says why an axis has a single value, or nothing if it has several.
func whyItStays(choice *trellisv1.AxisChoice, ranked *trellisv1.Objective, best string) string {
	switch choice.GetReason() {
	case trellisv1.AxisChoice_REASON_SINGLE_VALUE:
		return "the study has no other value"
	case trellisv1.AxisChoice_REASON_SINGLE_ANSWER:
		return "no other value has a result"
	case trellisv1.AxisChoice_REASON_NEGLIGIBLE:
		return "the axis explains less than 1% of the variation"
	case trellisv1.AxisChoice_REASON_OTHERS_EXPLAIN_MORE:
		return "other axes explain more, and the new study should not be larger than the last one"
	case trellisv1.AxisChoice_REASON_NEIGHBORS_TRIED:
		return "its neighbors have been tried"
	case trellisv1.AxisChoice_REASON_STOPS_EARLY:
		return "the best configuration stops early, after " + output.Count(uint64(choice.GetEpoch()), "epoch")
	case trellisv1.AxisChoice_REASON_NEEDS_FEWER:
		return fmt.Sprintf("the best configuration needs no more than %s, and early stopping ends the runs", best)
	case trellisv1.AxisChoice_REASON_LOWEST_BEFORE_END:
		what := "lowest loss"
		if ranked != nil {
			what = "best " + ranked.GetMetric()
		}
		return fmt.Sprintf("the best configuration has its %s at epoch %d", what, choice.GetEpoch())
	case trellisv1.AxisChoice_REASON_LEFT_OUT:
		return "where leaves out the other values to try"
	case trellisv1.AxisChoice_REASON_UNFIT:
		return fmt.Sprintf("with %s, not all networks fit the images", fewInWords(choice.GetUnfit()))
	case trellisv1.AxisChoice_REASON_LARGEST_POSSIBLE:
		if len(choice.GetValues()) == 1 {
			return "it is the largest possible value"
		}
	}
	return ""
}

// whereItStands says where the best value stands among those that were tried.
func whereItStands(choice *trellisv1.AxisChoice, best string) string {
	switch choice.GetReason() {
	case trellisv1.AxisChoice_REASON_BETWEEN:
		return fmt.Sprintf("%s was best, between %s and %s", best, valueInWords(choice.GetBelow()),
			valueInWords(choice.GetAbove()))
	case trellisv1.AxisChoice_REASON_ZERO:
		return "0 was best, so smaller values are tried too"
	case trellisv1.AxisChoice_REASON_LARGEST_POSSIBLE:
		return best + " was best, the largest possible value"
	case trellisv1.AxisChoice_REASON_LARGEST_TRIED:
		return best + " was best, the largest value tried"
	case trellisv1.AxisChoice_REASON_SMALLEST_POSSIBLE:
		return best + " was best, the smallest possible value"
	case trellisv1.AxisChoice_REASON_SMALLEST_TRIED:
		return best + " was best, the smallest value tried"
	}
	return best + " was best"
}

// valuesInWords writes several.
func valuesInWords(values []*trellisv1.Value) string {
	texts := make([]string, len(values))
	for i, value := range values {
		texts[i] = valueInWords(value)
	}
	return strings.Join(texts, ", ")
}

// fewInWords writes the first of several, and how many more there are.
func fewInWords(values []*trellisv1.Value) string {
	const most = 5
	if len(values) <= most+1 {
		return valuesInWords(values)
	}
	return fmt.Sprintf("%s and %d more", valuesInWords(values[:most]), len(values)-most)
}

// valueInWords writes a value, or says that the grid does not have the axis.
func valueInWords(value *trellisv1.Value) string {
	if value == nil {
		return "no value"
	}
	return describe.Value(value, output.PlainNumber)
}
