package coordinator

import (
	"context"

	trellisv1 "trellis/proto/trellis/v1"
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

// GetBestTrial returns the best of the study's answered trials and the next.
func (s trialService) GetBestTrial(_ context.Context, request *trellisv1.GetBestTrialRequest) (*trellisv1.GetBestTrialResponse, error) {
	response, err := s.store.Snapshot().GetBestTrial(request)
	return response, statusOf(err)
}
