package api

import (
	"context"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/coordinator/access"
	"trellis/coordinator/forecast"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/catalog"
	"trellis/results/grid"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// PlanExtension says what an extension of a study would add, without extending it.
func (s studyService) PlanExtension(
	ctx context.Context, request *trellisv1.PlanExtensionRequest,
) (*trellisv1.PlanExtensionResponse, error) {
	if err := s.disk.check(); err != nil {
		return nil, err
	}
	study, err := s.get(ctx, request.GetStudy())
	if err != nil {
		return nil, err
	}
	spec, err := s.extendedSpec(study, &trellisv1.ExtendStudyRequest{
		Study: request.GetStudy(), Seeds: request.GetSeeds(), Axes: request.GetAxes(), Budget: request.GetBudget(),
		DropBudget: request.GetDropBudget(),
	})
	if err != nil {
		return nil, Status(err)
	}
	if err := s.limits.CheckSpec(spec); err != nil {
		return nil, err
	}
	release, err := s.turns.Plan.take(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	response, err := s.planExtension(ctx, study, spec)
	if err != nil {
		return nil, Status(err)
	}
	if response.GetTrials() == 0 && request.GetBudget().GetTime() == nil && !request.GetDropBudget() {
		return nil, status.Errorf(codes.InvalidArgument,
			"adds nothing: study %q has all of these trials that its budget allows", study.GetName())
	}
	return response, nil
}

// planExtension says what an extension of a study to a spec would add.
func (s studyService) planExtension(
	ctx context.Context, study *trellisv1.Study, spec *trellisv1.StudySpec,
) (*trellisv1.PlanExtensionResponse, error) {
	leftOut, err := grid.LeftOut(ctx, spec)
	if err != nil {
		return nil, err
	}
	p := &extensionPlan{
		snapshot: s.store.Snapshot().Within(ctx), tally: forecast.NewTally(spec),
		response: &trellisv1.PlanExtensionResponse{},
	}
	// What is stored of it may differ from what is shown.
	stored, err := p.snapshot.Study(nil, study.GetName())
	if err != nil {
		return nil, err
	}
	if err := s.checkRoomFor(p.snapshot, stored, spec, leftOut); err != nil {
		return nil, err
	}
	after, err := results.Extended(stored, spec)
	if err != nil {
		return nil, err
	}
	if p.has, err = p.snapshot.Catalog(study.GetName()); err != nil {
		return nil, err
	}
	for place := range after.Runs() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := p.add(after.Run(place)); err != nil {
			return nil, err
		}
	}
	// Its own measurements count as another study's.
	p.response.Forecast, err = s.forecasts.For(p.snapshot, &trellisv1.Study{
		Spec: spec, DataSet: stored.GetDataSet(), Numerics: stored.GetNumerics(),
	}, p.tally)
	return p.response, err
}

// extensionPlan counts what an extension adds to a study.
type extensionPlan struct {
	snapshot *results.Snapshot
	// has are the study's runs and trials: those that follow from its specs, and those that are listed.
	has *catalog.Catalog

	tally    *forecast.Tally
	response *trellisv1.PlanExtensionResponse
}

// add counts a run that the study would have.
func (p *extensionPlan) add(run *trellisv1.Run) error {
	place, has := p.has.Twin(run)
	if !has {
		p.response.Trials += uint64(len(run.GetMilestones()))
		p.response.Runs++
		p.response.Epochs += uint64(run.GetParameters().GetMaxEpochs())
		p.tally.Add(run, nil)
		return nil
	}
	milestones, err := p.milestonesAt(place)
	if err != nil {
		return err
	}
	for _, milestone := range run.GetMilestones() {
		if !slices.Contains(milestones, milestone) {
			p.response.Trials++
		}
	}
	now, before := run.GetParameters().GetMaxEpochs(), milestones[len(milestones)-1]
	if now <= before {
		return nil
	}
	known, err := p.snapshot.TrajectoryAt(p.has, place)
	if err != nil {
		return err
	}
	its := known.Run
	switch its.GetState() {
	case lifecycle.RunFailed, lifecycle.RunPruned:
		return nil // It stays so.
	case lifecycle.RunSucceeded:
		if its.GetStopReason() != trellisv1.StopReason_STOP_REASON_MAX_EPOCHS {
			return nil // It has ended by itself.
		}
	}
	p.response.RunsLengthened++
	p.response.Epochs += uint64(now - before)
	if its.GetEpochs() == 0 {
		p.tally.Add(run, nil)
		return nil
	}
	run.Epochs, run.Checkpoints = its.GetEpochs(), its.GetCheckpoints()
	p.tally.Add(run, trajectory.FirstEpochs(known.Losses, run.GetEpochs()))
	return nil
}

// milestonesAt returns the milestones that the study's run at a place has. Those of a run that follows from the specs
// are known without its row.
func (p *extensionPlan) milestonesAt(place uint32) ([]uint32, error) {
	if p.has.InBase(place) {
		milestones, _ := p.has.MilestonesAt(place)
		return milestones, nil
	}
	its, err := p.snapshot.TrajectoryAt(p.has, place)
	if err != nil {
		return nil, err
	}
	return its.Run.GetMilestones(), nil
}

// checkRoomFor returns an error if there is no room for an extension of a stored study to a spec, whose where leaves out so
// many points.
func (s studyService) checkRoomFor(
	snapshot *results.Snapshot, stored *trellisv1.Study, spec *trellisv1.StudySpec, leftOut uint64,
) error {
	more, size, err := extensionOf(stored, spec, leftOut)
	if err != nil {
		return err
	}
	if err := s.limits.checkStudy(size); err != nil {
		return err
	}
	return s.limits.admit(snapshot, access.FromMessage(stored.GetCreator()), more)
}
