package search

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/describe"
	"trellis/command/exit"
	"trellis/command/node"
	"trellis/command/output"
	"trellis/command/programs"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/lattice"
	"trellis/worker/capacity"
)

// planOptions are the flags of a dry run.
type planOptions struct {
	format output.Format
	data   *node.DataOptions
	// slots is for how many runs side by side a study is estimated on this machine. 0 is one per core.
	slots int
	// here says that no coordinator is to be asked.
	here bool
	// probe measures what nobody knows.
	probe prober
}

// planWait is how long a dry run waits for a coordinator.
const planWait = 3 * time.Second

// dryRun writes what a study would cost: what the coordinator says, if there is one, else what can be found out here.
func dryRun(
	parent context.Context, env *cli.Environment, options *cli.ClientOptions, request *trellisv1.CreateStudyRequest,
	plan planOptions,
) (err error) {
	ctx, stop := cli.Interruptible(parent)
	defer stop()
	if plan.slots < 0 {
		return exit.Usagef("invalid argument \"%d\" for --slots: must be 1 or more", plan.slots)
	}
	var response *trellisv1.PlanStudyResponse
	if !plan.here {
		response, err = askForPlan(ctx, env, options, request)
	}
	plan.probe = prober{notices: env.Err, free: capacity.Free("/")}
	if err == nil {
		response, err = completePlan(ctx, request.GetSpec(), response, plan)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	return writePlan(env.Out, plan.format, request.GetSpec(), response, time.Now())
}

// askForPlan returns the coordinator's plan, or nil if there is no coordinator, or one that does not know how to plan.
func askForPlan(
	ctx context.Context, env *cli.Environment, options *cli.ClientOptions, request *trellisv1.CreateStudyRequest,
) (response *trellisv1.PlanStudyResponse, err error) {
	c, err := options.NewClient(io.Discard)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.Reach(ctx, planWait, true); err != nil {
		fmt.Fprintf(env.Err, "trellis: %s. This estimate is made on this machine and does not know what has already "+
			"been trained.\n",
			exit.Text(err))
		return nil, nil
	}
	if err := c.AwaitLeader(ctx); err != nil {
		return nil, err
	}
	response, err = client.Call(ctx, client.CreateTimeout, c.PlanStudy, &trellisv1.PlanStudyRequest{
		Spec: request.GetSpec(), Fresh: request.GetFresh(),
	})
	if status.Code(err) == codes.Unimplemented {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	// A plan only needs a spec. To submit it, its name must be free.
	if err := checkFree(ctx, c, request.GetSpec().GetName()); err != nil {
		return nil, err
	}
	return response, nil
}

// completePlan makes the plan on this machine if there is none, and measures here how long an epoch takes if the
// coordinator does not know.
func completePlan(
	ctx context.Context, wanted *trellisv1.StudySpec, response *trellisv1.PlanStudyResponse, plan planOptions,
) (*trellisv1.PlanStudyResponse, error) {
	if wanted.GetProgram() != nil && response != nil {
		return response, nil // How long an epoch takes is known once one has been trained.
	}
	complete, slots := preview(wanted), plan.slots
	if slots == 0 {
		slots = runtime.GOMAXPROCS(0)
	}
	if response == nil {
		return estimateHere(ctx, complete, plan.data, slots, plan.probe)
	}
	f := response.GetForecast()
	if f.GetSeconds() != nil || f.GetSecondsPerEpoch() > 0 || f.GetEpochs().GetHigh() == 0 {
		return response, nil
	}
	its, err := lattice.Of(complete)
	if err != nil {
		return nil, fmt.Errorf("read the study's grid: %w", err)
	}
	// So many runs slow each other down.
	if f.GetSlots() > 0 {
		slots = int(f.GetSlots())
	}
	from := imageSource{data: plan.data, sizes: response}
	if response.GetSplit() != nil {
		// The coordinator has the data set. It need not be on this machine, or be the same here.
		complete.Split, from = response.GetSplit(), imageSource{input: response.GetInput(), sizes: response}
	}
	pace, basis, err := plan.probe.pace(ctx, complete, its, from, slots)
	if err != nil || basis == nil {
		return response, err
	}
	if f.GetSlots() == 0 {
		basis.OwnCores, basis.Unsuited = true, f.GetBasis().GetUnsuited()
	}
	left := uint64(math.Ceil(f.GetEpochs().GetHigh()))
	runs, longest := response.GetRuns()-response.GetRunsShared(), min(left, uint64(its.Longest()))
	response.Forecast = bound(runs, left, longest, pace, slots, basis)
	return response, nil
}

type studyPlan = *trellisv1.PlanStudyResponse

// planColumns are those of a plan of the study with a name.
func planColumns(name string) []output.Column[studyPlan] {
	number := func(get func(studyPlan) uint64) func(studyPlan) string {
		return func(p studyPlan) string { return strconv.FormatUint(get(p), 10) }
	}
	decimal := func(get func(*trellisv1.Forecast) float64) func(studyPlan) string {
		return func(p studyPlan) string { return output.PlainNumber(get(p.GetForecast())) }
	}
	seconds := func(get func(*trellisv1.Estimate) float64) func(studyPlan) string {
		return func(p studyPlan) string {
			if p.GetForecast().GetSeconds() == nil {
				return ""
			}
			return output.PlainNumber(get(p.GetForecast().GetSeconds()))
		}
	}
	return []output.Column[studyPlan]{
		{Name: "study", Plain: func(studyPlan) string { return name }},
		{Name: "trials", Plain: number(studyPlan.GetTrials)},
		{Name: "runs", Plain: number(studyPlan.GetRuns)},
		{Name: "epochs", Plain: number(studyPlan.GetEpochs)},
		{Name: "epochs_alone", Plain: number(studyPlan.GetEpochsAlone)},
		{Name: "runs_shared", Plain: number(studyPlan.GetRunsShared)},
		{Name: "epochs_shared", Plain: number(studyPlan.GetEpochsShared)},
		{Name: "seconds_shared", Plain: func(p studyPlan) string { return output.PlainNumber(p.GetSecondsShared()) }},
		{
			Name: "epochs_left", Plain: decimal(func(f *trellisv1.Forecast) float64 {
				return f.GetEpochs().GetExpected()
			}),
		},
		{
			Name: "slots", Plain: func(p studyPlan) string {
				return strconv.FormatUint(uint64(p.GetForecast().GetSlots()), 10)
			},
		},
		{Name: "seconds_per_epoch", Plain: decimal((*trellisv1.Forecast).GetSecondsPerEpoch)},
		{Name: "seconds", Plain: seconds((*trellisv1.Estimate).GetExpected)},
		{Name: "seconds_low", Plain: seconds((*trellisv1.Estimate).GetLow)},
		{Name: "seconds_high", Plain: seconds((*trellisv1.Estimate).GetHigh)},
		{Name: "left_out", Plain: number(studyPlan.GetLeftOut)},
		sizeColumn("weights_low", studyPlan.GetSmallest, (*trellisv1.ModelSize).GetWeights),
		sizeColumn("weights_high", studyPlan.GetLargest, (*trellisv1.ModelSize).GetWeights),
		sizeColumn("epoch_operations_low", studyPlan.GetSmallest, (*trellisv1.ModelSize).GetOperations),
		sizeColumn("epoch_operations_high", studyPlan.GetLargest, (*trellisv1.ModelSize).GetOperations),
		sizeColumn("memory", studyPlan.GetLargest, (*trellisv1.ModelSize).GetMemory),
	}
}

// sizeColumn has a figure of the networks' sizes; nothing if there are none.
func sizeColumn[T uint64 | float64](
	name string, of func(studyPlan) *trellisv1.ModelSize, figure func(*trellisv1.ModelSize) T,
) output.Column[studyPlan] {
	return output.Column[studyPlan]{Name: name, Plain: func(p studyPlan) string {
		if of(p) == nil {
			return ""
		}
		return output.PlainNumber(float64(figure(of(p))))
	}}
}

// writePlan writes what a study would cost, if it began at the time at.
func writePlan(out io.Writer, format output.Format, spec *trellisv1.StudySpec, plan studyPlan, at time.Time) error {
	name := spec.GetName()
	if format != output.Table {
		return output.WriteOne(out, format, plan, planColumns(name))
	}
	table := output.NewTable()
	row := func(name, format string, values ...any) {
		table.AppendRow([]any{name, fmt.Sprintf(format, values...)})
	}
	row("study", "%s", name)
	row("trials", "%s", describeTrials(spec, plan))
	row("runs", "%d", plan.GetRuns())
	if budget := describe.Budget(spec); budget != "" {
		row("budget", "%s", budget)
	}
	if order := describe.Order(preview(spec)); order != "" {
		row("order", "%s", order)
	}
	alone := ""
	if plan.GetEpochsAlone() > plan.GetEpochs() {
		alone = fmt.Sprintf("; %d without sharing runs between trials that differ only in "+
			"max_epochs", plan.GetEpochsAlone())
	}
	row("epochs", "at most %d%s", plan.GetEpochs(), alone)
	if ranked := describe.ObjectiveOf(spec); !ranked.IsDefault() {
		row("ranked by", "%s", ranked.Ranking())
	}
	if pruned := describe.Pruning(spec); pruned != "" {
		row("pruned by", "%s", pruned)
	}
	if share := spec.GetAudit(); share > 0 && plan.GetRuns() > 0 {
		row("audit", "%s", describePlannedAudit(share, plan.GetRuns(), plan.GetEpochs()))
	}
	if plan.GetEpochsShared() > 0 {
		again := ""
		if plan.GetEpochsAgain() > 0 {
			again = fmt.Sprintf("; %s trained again: no checkpoint has them",
				output.Count(plan.GetEpochsAgain(), "epoch"))
		}
		row("already trained", "%s, which took %s; %d of %s complete%s", output.Count(plan.GetEpochsShared(), "epoch"),
			output.ShortSeconds(plan.GetSecondsShared()), plan.GetRunsShared(), output.Count(plan.GetRuns(), "run"),
			again)
	}
	if plan.GetLargest() != nil {
		row("networks", "%s", describe.Sizes(plan.GetSmallest(), plan.GetLargest()))
	}
	if program := spec.GetProgram(); program != nil {
		if program.GetFiles() != nil {
			row("files", "%s", programs.Describe(program.GetFiles()))
		}
		row("each run needs", "%s", describe.Resources(spec))
	}
	if labels := spec.GetWorkers(); len(labels) > 0 {
		row("workers with", "%s", describe.Labels(labels))
	}
	if plan.GetWaitingFor() != nil {
		row("waits for", "%s", describe.WaitingFor(&trellisv1.Study{Spec: spec, WaitingFor: plan.GetWaitingFor()}))
	}
	if plan.GetForecast().GetEpochs().GetHigh() > 0 {
		describe.PlannedTime(row, spec, plan.GetForecast(), "", at)
	} else if spec.GetSettle() != nil {
		row("to train", "nothing, except for seeds that settle may add")
	} else {
		row("to train", "nothing: the study would be complete at once")
	}
	_, err := fmt.Fprintln(out, table.Render())
	return err
}

// describeTrials says how many trials a study has, and how many points its budget and its where leave out.
func describeTrials(spec *trellisv1.StudySpec, plan studyPlan) string {
	if spec.GetBudget() != nil {
		if points, err := grid.New(preview(spec)); err == nil && points.Size() > plan.GetTrials()+plan.GetLeftOut() {
			text := fmt.Sprintf("%d of %s", plan.GetTrials(), output.Count(points.Size()-plan.GetLeftOut(), "point"))
			if plan.GetLeftOut() > 0 {
				text += fmt.Sprintf("; where leaves out %d more", plan.GetLeftOut())
			}
			return text
		}
	}
	if plan.GetLeftOut() == 0 {
		return strconv.FormatUint(plan.GetTrials(), 10)
	}
	return fmt.Sprintf("%d; where leaves out %d of %s", plan.GetTrials(), plan.GetLeftOut(),
		output.Count(plan.GetTrials()+plan.GetLeftOut(), "point"))
}

// describePlannedAudit says how many runs a study trains again, and what that costs. Which ones follows from their ids,
// so that a share is about that many.
func describePlannedAudit(share float64, runs, epochs uint64) string {
	if share >= 1 {
		return fmt.Sprintf("%s trained again: up to %s more", output.Count(runs, "run"), output.Count(epochs, "epoch"))
	}
	audited := max(1, math.Round(share*float64(runs)))
	return fmt.Sprintf("about %.0f of %s trained again: up to about %.0f epochs more", audited,
		output.Count(runs, "run"), math.Ceil(audited*float64(epochs)/float64(runs)))
}
