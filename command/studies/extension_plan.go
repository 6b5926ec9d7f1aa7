package studies

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"trellis/command/client"
	"trellis/command/describe"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// planExtension writes what an extension would add, without extending the study.
func planExtension(
	ctx context.Context, out io.Writer, c *client.Client, format output.Format, request *trellisv1.ExtendStudyRequest,
) error {
	plan, err := client.Call(ctx, client.CreateTimeout, c.PlanExtension, &trellisv1.PlanExtensionRequest{
		Study: request.GetStudy(), Seeds: request.GetSeeds(), Axes: request.GetAxes(), Budget: request.GetBudget(),
		DropBudget: request.GetDropBudget(),
	})
	if err != nil {
		return err
	}
	response, err := client.Call(ctx, client.CallTimeout, c.GetStudy, &trellisv1.GetStudyRequest{Study: request.GetStudy()})
	if err != nil {
		return err
	}
	return writeExtensionPlan(out, format, response.GetStudy(), plan, time.Now())
}

// extensionColumns are those of a plan of an extension of the study with a name.
func extensionColumns(name string) []output.Column[*trellisv1.PlanExtensionResponse] {
	type plan = *trellisv1.PlanExtensionResponse
	number := func(get func(plan) uint64) func(plan) string {
		return func(p plan) string { return strconv.FormatUint(get(p), 10) }
	}
	seconds := func(get func(*trellisv1.Estimate) float64) func(plan) string {
		return func(p plan) string {
			if p.GetForecast().GetSeconds() == nil {
				return ""
			}
			return output.PlainNumber(get(p.GetForecast().GetSeconds()))
		}
	}
	return []output.Column[plan]{
		{Name: "study", Plain: func(plan) string { return name }},
		{Name: "trials", Plain: number(plan.GetTrials)},
		{Name: "runs", Plain: number(plan.GetRuns)},
		{Name: "runs_lengthened", Plain: number(plan.GetRunsLengthened)},
		{Name: "runs_reopened", Plain: number(plan.GetRunsReopened)},
		{Name: "epochs", Plain: number(plan.GetEpochs)},
		{Name: "epochs_before", Plain: number(plan.GetEpochsBefore)},
		{Name: "epochs_again", Plain: number(plan.GetEpochsAgain)},
		{Name: "epochs_left", Plain: func(p plan) string { return output.PlainNumber(p.GetForecast().GetEpochs().GetExpected()) }},
		{Name: "slots", Plain: number(func(p plan) uint64 { return uint64(p.GetForecast().GetSlots()) })},
		{Name: "seconds_per_epoch", Plain: func(p plan) string { return output.PlainNumber(p.GetForecast().GetSecondsPerEpoch()) }},
		{Name: "seconds", Plain: seconds((*trellisv1.Estimate).GetExpected)},
		{Name: "seconds_low", Plain: seconds((*trellisv1.Estimate).GetLow)},
		{Name: "seconds_high", Plain: seconds((*trellisv1.Estimate).GetHigh)},
	}
}

// writeExtensionPlan writes what an extension of a study would add, if it began at the time at.
func writeExtensionPlan(
	out io.Writer, format output.Format, study *trellisv1.Study, plan *trellisv1.PlanExtensionResponse, at time.Time,
) error {
	if format != output.Table {
		return output.WriteOne(out, format, plan, extensionColumns(study.GetName()))
	}
	table := output.NewTable()
	row := func(name, format string, values ...any) {
		table.AppendRow([]any{name, fmt.Sprintf(format, values...)})
	}
	row("study", "%s", study.GetName())
	row("trials", "%d more", plan.GetTrials())
	row("runs", "%s", describeAddedRuns(plan))
	row("epochs", "at most %d more", plan.GetEpochs())
	if plan.GetLargest() != nil {
		row("networks", "%s", describe.Sizes(plan.GetSmallest(), plan.GetLargest()))
	}
	if plan.GetWaitingFor() != nil {
		row("waits for", "%s", describe.WaitingFor(&trellisv1.Study{Spec: study.GetSpec(), WaitingFor: plan.GetWaitingFor()}))
	}
	if plan.GetForecast().GetEpochs().GetHigh() > 0 {
		describe.PlannedTime(row, study.GetSpec(), plan.GetForecast(), describeOldEpochs(plan), at)
	} else {
		row("to train", "nothing")
	}
	_, err := fmt.Fprintln(out, table.Render())
	return err
}

// describeAddedRuns says which runs an extension adds, or trains for longer.
func describeAddedRuns(plan *trellisv1.PlanExtensionResponse) string {
	var parts []string
	if longer := plan.GetRunsLengthened(); longer > 0 {
		parts = append(parts, fmt.Sprintf("%d trained for more epochs", longer))
	}
	if reopened := plan.GetRunsReopened(); reopened > 0 {
		parts = append(parts, fmt.Sprintf("%d that ran out of time", reopened))
	}
	if runs := plan.GetRuns(); runs > 0 || parts == nil {
		parts = append([]string{fmt.Sprintf("%d new", runs)}, parts...)
	}
	return strings.Join(parts, ", ")
}

// describeOldEpochs says why more epochs are trained than an extension adds, or nothing.
func describeOldEpochs(plan *trellisv1.PlanExtensionResponse) string {
	var parts []string
	if before := plan.GetEpochsBefore(); before > 0 {
		parts = append(parts, fmt.Sprintf("%d are left to train anyway", before))
	}
	if again := plan.GetEpochsAgain(); again > 0 {
		parts = append(parts, fmt.Sprintf("%d are trained again: no checkpoint has them", again))
	}
	return strings.Join(parts, "; ")
}
