package coordinator

import (
	"context"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/insight"
)

// trialService answers from a snapshot of the store.
type trialService struct {
	trellisv1.UnimplementedTrialServiceServer
	*Coordinator
}

// ListTrials returns a page of the study's trials.
func (s trialService) ListTrials(_ context.Context, request *trellisv1.ListTrialsRequest) (*trellisv1.ListTrialsResponse, error) {
	response, err := s.store.Snapshot().ListTrials(request)
	return response, statusOf(err)
}

// GetBestTrial returns the best of the study's answered trials, the next, and how sure that is.
func (s trialService) GetBestTrial(_ context.Context, request *trellisv1.GetBestTrialRequest) (*trellisv1.GetBestTrialResponse, error) {
	snapshot := s.store.Snapshot()
	response, err := insight.BestTrial(snapshot, request)
	if err != nil {
		return nil, statusOf(err)
	}
	response.Study = s.forecasts.on(snapshot, response.GetStudy())
	return response, nil
}

// ListConfigurations returns a page of the study's configurations, by rank.
func (s trialService) ListConfigurations(
	_ context.Context, request *trellisv1.ListConfigurationsRequest,
) (*trellisv1.ListConfigurationsResponse, error) {
	response, err := insight.ListConfigurations(s.store.Snapshot(), request)
	return response, statusOf(err)
}

// GetRun returns a run and its configuration.
func (s trialService) GetRun(_ context.Context, request *trellisv1.GetRunRequest) (*trellisv1.GetRunResponse, error) {
	snapshot := s.store.Snapshot()
	study, err := snapshot.Study(nil, request.GetStudy())
	if err != nil {
		return nil, statusOf(err)
	}
	run, err := snapshot.Run(nil, request.GetStudy(), request.GetRun())
	if err != nil {
		return nil, statusOf(err)
	}
	return &trellisv1.GetRunResponse{Run: run, Config: grid.RunConfigFor(study, run, s.config.Numerics, run.GetParameters().GetMaxEpochs())}, nil
}
