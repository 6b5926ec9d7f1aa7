package api

import (
	"context"
	"slices"

	"trellis/coordinator/artifact"
	"trellis/coordinator/forecast"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
	"trellis/results/insight"
	"trellis/results/trajectory"
)

// trialService responds from a snapshot of the store.
type trialService struct {
	trellisv1.UnimplementedTrialServiceServer
	numerics  string
	models    grid.Models
	sizer     grid.Sizer
	store     Snapshots
	forecasts *forecast.Maker
	artifacts *artifact.Keeper
	outputs   Outputs
	stopping  context.Context
}

// maxKeptPage is how many trials pages have at most that are kept: a screen has fewer.
const maxKeptPage = 100

// ListTrials returns a page of the study's trials.
func (s trialService) ListTrials(
	ctx context.Context, request *trellisv1.ListTrialsRequest,
) (*trellisv1.ListTrialsResponse, error) {
	snapshot := s.store.Snapshot().Within(ctx)
	if request.GetPageToken() != "" || request.GetPageSize() > maxKeptPage || request.GetLosses() || request.GetRuns() {
		response, err := snapshot.ListTrials(request) // It is asked for by programs, which read all pages once.
		return response, Status(err)
	}
	response, err := results.Answered(snapshot, request.GetStudy(), request, (*results.Snapshot).ListTrials)
	return response, Status(err)
}

// GetTrial returns one trial.
func (s trialService) GetTrial(
	ctx context.Context, request *trellisv1.GetTrialRequest,
) (*trellisv1.GetTrialResponse, error) {
	snapshot := s.store.Snapshot().Within(ctx)
	trial, err := snapshot.Trial(request.GetStudy(), request.GetTrial())
	if err == nil && request.GetLosses() {
		trial, err = snapshot.WithLosses(trial)
	}
	if err != nil {
		return nil, Status(err)
	}
	return &trellisv1.GetTrialResponse{Trial: trial}, nil
}

// GetBestTrial returns the study's best trial, the runner-up, and the verdict.
func (s trialService) GetBestTrial(
	ctx context.Context, request *trellisv1.GetBestTrialRequest,
) (*trellisv1.GetBestTrialResponse, error) {
	snapshot := s.store.Snapshot().Within(ctx)
	response, err := insight.BestTrial(snapshot, request)
	if err != nil {
		return nil, Status(err)
	}
	response.Study = s.forecasts.On(snapshot, response.GetStudy())
	return response, nil
}

// ListConfigurations returns a page of the study's configurations, by rank.
func (s trialService) ListConfigurations(
	ctx context.Context, request *trellisv1.ListConfigurationsRequest,
) (*trellisv1.ListConfigurationsResponse, error) {
	response, err := insight.ListConfigurations(s.store.Snapshot().Within(ctx), request)
	return response, Status(err)
}

// GetRun returns a run and its configuration.
func (s trialService) GetRun(ctx context.Context, request *trellisv1.GetRunRequest) (*trellisv1.GetRunResponse, error) {
	snapshot := s.store.Snapshot().Within(ctx)
	study, err := snapshot.Study(nil, request.GetStudy())
	if err != nil {
		return nil, Status(err)
	}
	run, err := snapshot.Run(nil, request.GetStudy(), request.GetRun())
	if err != nil {
		return nil, Status(err)
	}
	return &trellisv1.GetRunResponse{Run: withinEpochs(run), Config: grid.RunConfigFor(study, run, s.numerics,
		run.GetParameters().GetMaxEpochs())}, nil
}

// withinEpochs returns a run whose attempts have trained none but its epochs. Stored, one that has seen the run end early has
// vouched for the epoch after the last, which is that there is none.
func withinEpochs(run *trellisv1.Run) *trellisv1.Run {
	beyond := func(t *trellisv1.Training) bool { return t.GetUntil() > run.GetEpochs() }
	if !slices.ContainsFunc(run.GetTrainings(), beyond) {
		return run
	}
	run = shallow(run)
	run.Trainings = trajectory.TrainingsUpTo(run.GetTrainings(), run.GetEpochs())
	return run
}

// GetReport returns the study's report, which accounts for every point of its grid.
func (s trialService) GetReport(
	ctx context.Context, request *trellisv1.GetReportRequest,
) (*trellisv1.GetReportResponse, error) {
	report, err := insight.Report(s.store.Snapshot().Within(ctx), request.GetStudy())
	if err != nil {
		return nil, Status(err)
	}
	return &trellisv1.GetReportResponse{Report: report}, nil
}

// GetImportance says how much each axis of the study's grid matters.
func (s trialService) GetImportance(
	ctx context.Context, request *trellisv1.GetImportanceRequest,
) (*trellisv1.GetImportanceResponse, error) {
	response, err := results.Answered(s.store.Snapshot().Within(ctx), request.GetStudy(), request, insight.Importance)
	return response, Status(err)
}

// SuggestStudy returns the spec of a next study, based on what this one has found.
func (s trialService) SuggestStudy(
	ctx context.Context, request *trellisv1.SuggestStudyRequest,
) (*trellisv1.SuggestStudyResponse, error) {
	response, err := insight.SuggestStudy(ctx, s.store.Snapshot(), request, s.models, s.sizer)
	return response, Status(err)
}
