package answer

import (
	"fmt"
	"strings"

	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// shownReasons is how many reasons for missing weights people are told.
const shownReasons = 3

// DescribeMissingWeights says of how many trials of a report the weights could not be saved, why, and how to get them, or
// nothing. Without --fresh, a study that trains the same shares the result, and what is missing of it.
func DescribeMissingWeights(report *trellisv1.Report) string {
	if report.GetWeightsMissing() == 0 {
		return ""
	}
	reasons := report.GetMissingReasons()
	var parts []string
	for _, reason := range reasons[:min(len(reasons), shownReasons)] {
		text := output.Shorten(strings.Join(strings.Fields(reason.GetReason()), " "), 300)
		if len(reasons) > 1 {
			text = fmt.Sprintf("%s (%d)", text, reason.GetTrials())
		}
		parts = append(parts, text)
	}
	if len(reasons) > shownReasons {
		parts = append(parts, "and other reasons")
	}
	it := "them"
	if report.GetWeightsMissing() == 1 {
		it = "it"
	}
	return fmt.Sprintf("the weights of %s could not be saved: %s. To train %s anew, submit the study under another name "+
		"with --fresh", output.Count(report.GetWeightsMissing(), "trial"), strings.Join(parts, "; "), it)
}
