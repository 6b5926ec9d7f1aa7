package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/coordinator/artifact"
	"trellis/coordinator/forecast"
	"trellis/coordinator/spans"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
	"trellis/results/lifecycle"
	"trellis/results/retention"
)

// studyService changes studies through the log and reads them from the store.
type studyService struct {
	trellisv1.UnimplementedStudyServiceServer
	numerics  string
	models    grid.Models
	sizer     grid.Sizer
	store     Snapshots
	log       Log
	dataSets  DataSets
	artifacts *artifact.Keeper
	forecasts *forecast.Maker
	disk      disk
	limits    Limits
	// noPrograms says that studies of programs are refused.
	noPrograms bool
	// specs reads and writes specs as text. Nil: such calls are refused.
	specs  Specs
	memory Memory
	// creating has an element while a study is being admitted, so that the limits on studies hold.
	creating chan struct{}
	turns    Turns
	spans    *spans.Spans
	stopping context.Context
	logger   *slog.Logger
}

// ListModels lists the models that can be trained: those that the leader was configured with.
func (s studyService) ListModels(context.Context, *trellisv1.ListModelsRequest) (*trellisv1.ListModelsResponse, error) {
	return &trellisv1.ListModelsResponse{Models: s.models}, nil
}

// GetStudy returns a study, with its forecast.
func (s studyService) GetStudy(
	ctx context.Context, request *trellisv1.GetStudyRequest,
) (*trellisv1.GetStudyResponse, error) {
	snapshot := s.store.Snapshot().Within(ctx)
	study, err := snapshot.Study(nil, request.GetStudy())
	if err != nil {
		return nil, Status(err)
	}
	if study, err = snapshot.Presented(study); err != nil {
		return nil, Status(err)
	}
	return &trellisv1.GetStudyResponse{Study: s.waiting(s.forecasts.On(snapshot, study))}, nil
}

// waiting returns the study with what it waits for.
func (s studyService) waiting(study *trellisv1.Study) *trellisv1.Study {
	if lifecycle.StudyEnded(study.GetState()) {
		return study
	}
	why := s.memory.WaitingFor(study.GetName())
	if why == nil {
		return study
	}
	study = shallow(study)
	study.WaitingFor = why
	if f := study.GetForecast(); canNotBegin(why) && f != nil { // Nobody knows when it ends.
		study.Forecast = shallow(f)
		study.Forecast.Seconds, study.Forecast.Alternatives = nil, nil
	}
	return study
}

// canNotBegin says whether no run of a study can begin before it has what it waits for. Runs whose attempts disagree
// wait for another machine, and others don't.
func canNotBegin(why *trellisv1.WaitingFor) bool {
	return why != nil && why.GetReason() != trellisv1.WaitingReason_WAITING_REASON_ANOTHER_MACHINE
}

// get returns a study as it is presented, without what is to come of it.
func (s studyService) get(ctx context.Context, name string) (*trellisv1.Study, error) {
	snapshot := s.store.Snapshot().Within(ctx)
	study, err := snapshot.Study(nil, name)
	if err == nil {
		study, err = snapshot.Presented(study)
	}
	if err != nil {
		return nil, Status(err)
	}
	return study, nil
}

// ListStudies returns a page of the studies, oldest first, with forecasts of those that are running.
func (s studyService) ListStudies(
	ctx context.Context, request *trellisv1.ListStudiesRequest,
) (*trellisv1.ListStudiesResponse, error) {
	snapshot := s.store.Snapshot().Within(ctx)
	response, err := snapshot.ListStudies(request)
	if err != nil {
		return nil, Status(err)
	}
	response.Studies = s.listed(snapshot, response.GetStudies())
	return response, nil
}

// listed returns studies of a list with forecasts of those that are running, and with what they wait for.
func (s studyService) listed(snapshot *results.Snapshot, studies []*trellisv1.Study) []*trellisv1.Study {
	s.forecasts.OnAll(snapshot, studies)
	for i, study := range studies {
		studies[i] = s.waiting(study)
	}
	return studies
}

// PauseStudy stops a study's runs until it is resumed.
func (s studyService) PauseStudy(
	ctx context.Context, request *trellisv1.PauseStudyRequest,
) (*trellisv1.PauseStudyResponse, error) {
	study, err := s.move(ctx, request.GetStudy(), trellisv1.StudyState_STUDY_STATE_PAUSED)
	if err != nil {
		return nil, err
	}
	return &trellisv1.PauseStudyResponse{Study: study}, nil
}

// ResumeStudy lets a paused study continue.
func (s studyService) ResumeStudy(
	ctx context.Context, request *trellisv1.ResumeStudyRequest,
) (*trellisv1.ResumeStudyResponse, error) {
	study, err := s.move(ctx, request.GetStudy(), trellisv1.StudyState_STUDY_STATE_RUNNING)
	if err != nil {
		return nil, err
	}
	return &trellisv1.ResumeStudyResponse{Study: study}, nil
}

// CancelStudy ends a study for good.
func (s studyService) CancelStudy(
	ctx context.Context, request *trellisv1.CancelStudyRequest,
) (*trellisv1.CancelStudyResponse, error) {
	study, err := s.move(ctx, request.GetStudy(), trellisv1.StudyState_STUDY_STATE_CANCELED)
	if err != nil {
		return nil, err
	}
	return &trellisv1.CancelStudyResponse{Study: study}, nil
}

// move changes a study's state. Its attempts end with the change; the workers are told by their sessions. A study that has the
// state already is not changed: that is no event.
func (s studyService) move(ctx context.Context, name string, state trellisv1.StudyState) (*trellisv1.Study, error) {
	has := func() bool {
		study, err := s.store.Snapshot().Study(nil, name)
		return err == nil && study.GetState() == state
	}
	if has() {
		// The state of a leader that was replaced without knowing it may be that of before.
		if err := s.log.Verify(ctx); err != nil {
			return nil, Status(err)
		}
		if has() {
			return s.get(ctx, name)
		}
	}
	_, err := s.log.Propose(ctx, &trellisv1.Command{Change: &trellisv1.Command_SetStudyState{
		SetStudyState: &trellisv1.SetStudyStateCommand{Study: name, State: state},
	}})
	if err != nil {
		return nil, Status(err)
	}
	s.logger.Info("study changed state", "study", name, "state", state)
	return s.get(ctx, name)
}

// DeleteStudy deletes a study and its results, or only if it has not changed.
func (s studyService) DeleteStudy(
	ctx context.Context, request *trellisv1.DeleteStudyRequest,
) (*trellisv1.DeleteStudyResponse, error) {
	_, err := s.log.Propose(ctx, &trellisv1.Command{Change: &trellisv1.Command_DeleteStudy{
		DeleteStudy: &trellisv1.DeleteStudyCommand{
			Study: request.GetStudy(), ModifyIndex: request.GetModifyIndex(), CreateIndex: request.GetCreateIndex(),
		},
	}})
	if err != nil {
		return nil, Status(err)
	}
	s.logger.Info("study deleted", "study", request.GetStudy())
	return &trellisv1.DeleteStudyResponse{}, nil
}

// DeleteCheckpoints deletes the checkpoints of a study that has ended, but for those of its best trials. It does so
// part by part: if that is interrupted, another call deletes the rest.
func (s studyService) DeleteCheckpoints(
	ctx context.Context, request *trellisv1.DeleteCheckpointsRequest,
) (*trellisv1.DeleteCheckpointsResponse, error) {
	name := request.GetStudy()
	// The studies of a leader that was replaced without knowing it may be those of before.
	if err := s.log.Verify(ctx); err != nil {
		return nil, Status(err)
	}
	snapshot := s.store.Snapshot().Within(ctx)
	study, err := snapshot.Study(nil, name)
	if err != nil {
		return nil, Status(err)
	}
	if created, index := request.GetCreateIndex(), request.GetModifyIndex(); created != 0 && created != study.GetCreateIndex() ||
		index != 0 && index != study.GetModifyIndex() {
		return nil, Status(fmt.Errorf("delete the checkpoints of study %q: %w", name, results.ErrStudyChanged))
	}
	if !lifecycle.StudyEnded(study.GetState()) {
		return nil, status.Errorf(codes.FailedPrecondition, "study %q is %s, and its runs go on from their checkpoints: wait until "+
			"it has ended, or cancel it first", name, lifecycle.Name(study.GetState()))
	}
	deleted, err := s.useOf(ctx, snapshot, name)
	if err != nil {
		return nil, err
	}
	if deleted.GetCheckpoints() > 0 {
		if err := s.deleteCheckpoints(ctx, study, deleted.GetKeptRuns()); err != nil {
			return nil, Status(err)
		}
		s.logger.Info("checkpoints of a study deleted", "study", name, "checkpoints", deleted.GetCheckpoints())
	}
	if study, err = s.get(ctx, name); err != nil {
		return nil, err
	}
	return &trellisv1.DeleteCheckpointsResponse{Study: study, Deleted: deleted}, nil
}

// useOf says what may be deleted of the checkpoints of a study. It looks at no other study, so that many can be pruned
// one by one.
func (s studyService) useOf(ctx context.Context, snapshot *results.Snapshot, name string) (*trellisv1.CheckpointUse, error) {
	release, err := s.turns.Read.take(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	its, err := retention.UseOf(snapshot, name)
	return its, Status(err)
}

// deleteCheckpoints deletes the checkpoints of a study, but for those of some runs, unless the study has changed.
func (s studyService) deleteCheckpoints(ctx context.Context, study *trellisv1.Study, keep []string) error {
	done := results.DeletedCheckpoints{More: true, ModifyIndex: study.GetModifyIndex()}
	for done.More {
		answer, err := s.log.Propose(ctx, &trellisv1.Command{Change: &trellisv1.Command_DeleteCheckpoints{
			DeleteCheckpoints: &trellisv1.DeleteCheckpointsCommand{
				Study: study.GetName(), CreateIndex: study.GetCreateIndex(), ModifyIndex: done.ModifyIndex,
				NextSection: done.NextSection, KeepRuns: keep, EndTime: study.GetEndTime(),
			},
		}})
		if err != nil {
			return err
		}
		var ok bool
		if done, ok = answer.(results.DeletedCheckpoints); !ok {
			panic(fmt.Sprintf("api: the state machine answered a deletion of checkpoints with %T", answer))
		}
	}
	return nil
}

// PlanCheckpointDeletion says what DeleteCheckpoints would delete of studies. It leaves out those that are gone or run
// again.
func (s studyService) PlanCheckpointDeletion(
	ctx context.Context, request *trellisv1.PlanCheckpointDeletionRequest,
) (*trellisv1.PlanCheckpointDeletionResponse, error) {
	snapshot := s.store.Snapshot().Within(ctx)
	var names []string
	for _, name := range request.GetStudies() {
		study, err := snapshot.Study(nil, name)
		if errors.Is(err, results.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, Status(err)
		}
		if lifecycle.StudyEnded(study.GetState()) {
			names = append(names, name)
		}
	}
	release, err := s.turns.Read.take(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	uses, err := retention.Plan(snapshot, names)
	if err != nil {
		return nil, Status(err)
	}
	return &trellisv1.PlanCheckpointDeletionResponse{Studies: uses}, nil
}
