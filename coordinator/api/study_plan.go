package api

import (
	"context"

	"trellis/coordinator/forecast"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
	"trellis/results/lattice"
	"trellis/results/lifecycle"
	"trellis/results/resources"
	"trellis/results/trajectory"
)

// PlanStudy says what a study would cost, without creating it.
func (s studyService) PlanStudy(
	ctx context.Context, request *trellisv1.PlanStudyRequest,
) (*trellisv1.PlanStudyResponse, error) {
	command, leftOut, err := s.createCommand(ctx, request.GetSpec(), request.GetFresh())
	if err != nil {
		return nil, err
	}
	if source := command.GetPretrained(); source != nil {
		if err := s.hasSource(ctx, source); err != nil {
			return nil, err
		}
	}
	if err := s.checkRoom(ctx, command, leftOut); err != nil {
		return nil, err
	}
	// The data set is there: nobody's download holds up another's plan.
	release, err := s.turns.Plan.take(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	study := studyOf(command)
	its, err := lattice.New(study)
	if err != nil {
		return nil, Status(err)
	}
	p := &plan{
		snapshot: s.store.Snapshot().Within(ctx), tally: forecast.NewTally(command.GetSpec()),
		response: &trellisv1.PlanStudyResponse{Split: command.GetSpec().GetSplit(), LeftOut: leftOut},
	}
	if !command.GetFresh() && grid.Shares(command.GetSpec()) {
		if p.known, err = p.snapshot.Known(); err != nil {
			return nil, Status(err)
		}
	}
	for place := range its.Runs() {
		if err := ctx.Err(); err != nil {
			return nil, Status(err)
		}
		if err := p.add(its.Run(place)); err != nil {
			return nil, Status(err)
		}
	}
	if err := p.foresee(command.GetSpec()); err != nil {
		return nil, Status(err)
	}
	if p.response.Forecast, err = s.forecasts.For(p.snapshot, study, p.tally); err != nil {
		return nil, Status(err)
	}
	return p.response, nil
}

// studyOf is the study that a command creates, as far as its runs depend on it.
func studyOf(command *trellisv1.CreateStudyCommand) *trellisv1.Study {
	return &trellisv1.Study{
		Name: command.GetSpec().GetName(), Spec: command.GetSpec(), DataSet: command.GetDataSet(),
		Numerics: command.GetNumerics(), Pretrained: command.GetPretrained(),
	}
}

// plan counts the trials, runs and epochs of a study, and how many of them other studies have trained.
type plan struct {
	snapshot *results.Snapshot
	// known is nil if the study must not use results of other studies.
	known    results.Known
	tally    *forecast.Tally
	response *trellisv1.PlanStudyResponse
}

// foresee says what the study's runs would wait for, whatever else is being trained.
func (p *plan) foresee(spec *trellisv1.StudySpec) error {
	ready, err := p.snapshot.ReadyWorkers()
	if err != nil {
		return err
	}
	if reason := resources.Missing(resources.Of(spec), ready); reason != 0 {
		p.response.WaitingFor = &trellisv1.WaitingFor{Reason: reason}
	}
	return nil
}

// add counts a run of the study.
func (p *plan) add(run *trellisv1.Run) error {
	r := p.response
	r.Runs++
	r.Trials += uint64(len(run.GetMilestones()))
	r.Epochs += uint64(run.GetParameters().GetMaxEpochs())
	for _, milestone := range run.GetMilestones() {
		r.EpochsAlone += uint64(milestone)
	}
	if p.known == nil {
		p.tally.Add(run, nil)
		return nil
	}
	known, err := p.known(run)
	if err != nil {
		return err
	}
	if known == nil {
		p.tally.Add(run, nil)
		return nil
	}
	losses, err := p.snapshot.Losses(nil, known.GetStudy(), known.GetId())
	if err != nil {
		return err
	}
	p.take(run, known)
	p.tally.Add(run, trajectory.FirstEpochs(losses, run.GetEpochs()))
	return nil
}

// take gives a run the results that another study has for it, up to the run's own end.
func (p *plan) take(run, known *trellisv1.Run) {
	shared := trajectory.Share(run, known)
	run.Epochs, run.SharedEpochs = shared.Epochs, shared.Epochs
	p.response.EpochsShared += uint64(shared.Epochs)
	p.response.SecondsShared += shared.Seconds
	if shared.Ended {
		p.response.RunsShared++
		run.State, run.StopReason = lifecycle.RunSucceeded, shared.Reason
		return
	}
	trajectory.ShareCheckpoints(run, known)
}
