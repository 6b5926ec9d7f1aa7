package answer

import (
	"fmt"
	"strings"

	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// shownReasons is how many reasons for missing weights people are told.
const shownReasons = 3

// DescribeMissingWeights says of how many trials of a report the weights could not be saved, and why, or nothing.
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
	return fmt.Sprintf("the weights of %s could not be saved: %s", output.Count(report.GetWeightsMissing(), "trial"),
		strings.Join(parts, "; "))
}
