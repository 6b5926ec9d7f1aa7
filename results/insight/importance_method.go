package insight

import (
	"fmt"
	"strconv"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
)

// method says in words how the variance was divided, and what was left out.
func (s *survey) method(exact, logarithms bool) string {
	var text strings.Builder
	text.WriteString("functional ANOVA of the ")
	if logarithms {
		text.WriteString("logarithm of the ")
	}
	text.WriteString("objective")
	if s.seeds > 1 {
		fmt.Fprintf(&text, " (the mean of up to %d seeds)", s.seeds)
	}
	if exact {
		text.WriteString(", exact: the configurations are a full grid")
	} else {
		text.WriteString(", by least squares, first the axes and then their pairs: the configurations are not a full grid")
	}
	if reasons := s.leftOut(); reasons != "" {
		text.WriteString("; left out: " + reasons)
	}
	for i, tried := range s.tried {
		if len(tried) > 1 && len(s.compared[i]) == 1 {
			fmt.Fprintf(&text, "; %s: only one value has been answered", s.axes[i].name)
		}
	}
	return text.String()
}

// leftOut says how many configurations can't be compared, and why. It is empty if all can.
func (s *survey) leftOut() string {
	var reasons []string
	if len(s.diverged) > 0 {
		reasons = append(reasons, fmt.Sprintf("%d diverged%s", len(s.diverged), s.divergedTogether()))
	}
	open := s.unanswered[trellisv1.TrialState_TRIAL_STATE_PENDING] + s.unanswered[trellisv1.TrialState_TRIAL_STATE_RUNNING]
	for _, reason := range []struct {
		count uint64
		name  string
	}{
		{s.unanswered[trellisv1.TrialState_TRIAL_STATE_FAILED], "failed"},
		{s.unanswered[trellisv1.TrialState_TRIAL_STATE_PRUNED], "pruned by a heuristic"},
		{s.unanswered[trellisv1.TrialState_TRIAL_STATE_CANCELED], "canceled"},
		{open, "not answered yet"},
	} {
		if reason.count > 0 {
			reasons = append(reasons, fmt.Sprintf("%d %s", reason.count, reason.name))
		}
	}
	return strings.Join(reasons, ", ")
}

// divergedTogether names the values that all of the several diverged configurations have in common. They matter more than
// any share can show.
func (s *survey) divergedTogether() string {
	if len(s.diverged) < 2 {
		return ""
	}
	var common []string
	for i, axis := range s.axes {
		value, same := axis.value(&s.diverged[0]), len(s.tried[i]) > 1
		for k := range s.diverged {
			same = same && axis.value(&s.diverged[k]) == value
		}
		if same {
			common = append(common, axis.name+" "+numberText(value))
		}
	}
	if len(common) == 0 {
		return ""
	}
	return " (all with " + strings.Join(common, " and ") + ")"
}

// numberText writes a number with as many digits as it has.
func numberText(value float64) string { return strconv.FormatFloat(value, 'g', -1, 64) }
