package api

import (
	"context"

	"trellis/coordinator/planning"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// PlanStudy says what a study would cost, without creating it.
func (s studyService) PlanStudy(
	ctx context.Context, request *trellisv1.PlanStudyRequest,
) (*trellisv1.PlanStudyResponse, error) {
	command, found, err := s.createCommand(ctx, request.GetSpec(), request.GetFresh())
	if err != nil {
		return nil, err
	}
	if source := command.GetPretrained(); source != nil {
		if err := s.hasSource(ctx, source); err != nil {
			return nil, err
		}
	}
	if err := s.checkRoom(ctx, command, found.leftOut); err != nil {
		return nil, err
	}
	// The data set is there: nobody's download holds up another's plan.
	release, err := s.turns.Plan.take(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	study, snapshot := studyOf(command), s.store.Snapshot().Within(ctx)
	response, tally, err := planning.Study(snapshot, study)
	if err != nil {
		return nil, Status(err)
	}
	response.Split, response.LeftOut = study.GetSpec().GetSplit(), found.leftOut
	response.Input = grid.InputOf(study.GetSpec(), study.GetDataSet())
	response.Smallest, response.Largest = found.smallest, found.largest
	if response.WaitingFor, err = snapshot.AwaitedWorker(study); err != nil {
		return nil, Status(err)
	}
	if response.Forecast, err = s.forecasts.For(snapshot, study, tally); err != nil {
		return nil, Status(err)
	}
	return response, nil
}

// studyOf is the study that a command creates, as far as its runs depend on it.
func studyOf(command *trellisv1.CreateStudyCommand) *trellisv1.Study {
	return &trellisv1.Study{
		Name: command.GetSpec().GetName(), Spec: command.GetSpec(), DataSet: command.GetDataSet(),
		Numerics: command.GetNumerics(), Fresh: command.GetFresh(), Pretrained: command.GetPretrained(),
		Network: command.GetNetwork(),
	}
}
