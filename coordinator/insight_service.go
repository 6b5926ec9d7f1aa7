package coordinator

import (
	"context"

	trellisv1 "trellis/proto/trellis/v1"
)

// GetImportance says how much each axis of the study's grid matters.
func (s trialService) GetImportance(_ context.Context, request *trellisv1.GetImportanceRequest) (*trellisv1.GetImportanceResponse, error) {
	response, err := s.store.Snapshot().GetImportance(request)
	return response, statusOf(err)
}

// SuggestStudy returns the spec of a study that goes on from what this one has found.
func (s trialService) SuggestStudy(_ context.Context, request *trellisv1.SuggestStudyRequest) (*trellisv1.SuggestStudyResponse, error) {
	response, err := s.store.Snapshot().SuggestStudy(request, s.config.Models)
	return response, statusOf(err)
}
