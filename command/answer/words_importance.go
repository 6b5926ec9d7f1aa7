package answer

import (
	"fmt"
	"strings"

	"trellis/command/describe"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// describeMethod says how the variance was divided among the axes, and what was left out, one sentence to a line.
func describeMethod(importance *trellisv1.Importance) string {
	objective := "objective"
	if o := importance.GetObjective(); o != nil {
		objective += ", " + o.GetMetric()
	}
	if importance.GetLogarithmic() {
		objective = "logarithm of the objective"
	}
	if importance.GetSeeds() > 1 {
		objective += fmt.Sprintf(" (mean of up to %d seeds)", importance.GetSeeds())
	}
	how := "by least squares (axes first, then pairs), because the configurations are not a full grid"
	if importance.GetExact() {
		how = "exact, because the configurations are a full grid"
	}
	of := ""
	if importance.GetSampledFrom() > 0 {
		how = "by least squares (axes first, then pairs)"
		of = fmt.Sprintf(", a sample of %d with results", importance.GetSampledFrom())
	}
	lines := []string{fmt.Sprintf("From %s%s: functional ANOVA of the %s, %s.",
		output.Count(importance.GetConfigurations(), "configuration"), of, objective, how)}
	if reasons := leftOut(importance); len(reasons) > 0 {
		lines = append(lines, "Left out: "+strings.Join(reasons, ", ")+".")
	}
	if axes := importance.GetUnansweredAxes(); len(axes) > 0 {
		lines = append(lines, fmt.Sprintf("Only one value has results for %s.", output.Enumerate(axes)))
	}
	return strings.Join(lines, "\n")
}

// leftOut says how many configurations can't be compared, and why.
func leftOut(importance *trellisv1.Importance) (reasons []string) {
	left := importance.GetReasons()
	diverged := "diverged"
	if at := importance.GetDivergedAt(); len(at) > 0 {
		var common []string
		for _, value := range at {
			common = append(common, value.GetAxis()+" "+describe.Value(value.GetValue(), output.PlainNumber))
		}
		diverged += " (all with " + output.Enumerate(common) + ")"
	}
	for _, reason := range []struct {
		count uint64
		name  string
	}{
		{left.GetDiverged(), diverged},
		{left.GetFailed(), "failed"},
		{left.GetPruned(), "pruned"},
		{left.GetCanceled(), "canceled"},
		{left.GetOpen(), "without a result yet"},
	} {
		if reason.count > 0 {
			reasons = append(reasons, fmt.Sprintf("%d %s", reason.count, reason.name))
		}
	}
	return reasons
}
