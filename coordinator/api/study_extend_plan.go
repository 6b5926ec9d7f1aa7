package api

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/coordinator/access"
	"trellis/coordinator/planning"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
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
	spec, found, err := s.extendedSpec(ctx, study, &trellisv1.ExtendStudyRequest{
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
	response, err := s.planExtension(ctx, study, spec, found)
	if err != nil {
		return nil, Status(err)
	}
	if response.GetTrials() == 0 && request.GetBudget().GetTime() == nil && !request.GetDropBudget() {
		return nil, status.Errorf(codes.InvalidArgument,
			"adds nothing: study %q has all of these trials that its budget allows", study.GetName())
	}
	return response, nil
}

// planExtension says what an extension of a study to a spec would add, of whose networks so much is known.
func (s studyService) planExtension(
	ctx context.Context, study *trellisv1.Study, spec *trellisv1.StudySpec, found foundOut,
) (*trellisv1.PlanExtensionResponse, error) {
	leftOut, err := grid.LeftOut(ctx, spec)
	if err != nil {
		return nil, err
	}
	snapshot := s.store.Snapshot().Within(ctx)
	// What is stored of it may differ from what is shown.
	stored, err := snapshot.Study(nil, study.GetName())
	if err != nil {
		return nil, err
	}
	if err := s.checkRoomFor(snapshot, stored, spec, leftOut); err != nil {
		return nil, err
	}
	response, tally, err := planning.Extension(snapshot, stored, spec, time.Now())
	if err != nil {
		return nil, err
	}
	// Its own measurements count as another study's.
	extended := &trellisv1.Study{
		Spec: spec, DataSet: stored.GetDataSet(), Numerics: stored.GetNumerics(), Network: found.largest,
	}
	response.Smallest, response.Largest = found.smallest, found.largest
	if response.WaitingFor, err = snapshot.AwaitedWorker(extended); err != nil {
		return nil, err
	}
	response.Forecast, err = s.forecasts.For(snapshot, extended, tally)
	return response, err
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
