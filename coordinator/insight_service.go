package coordinator

import (
	"context"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/insight"
)

// GetImportance says how much each axis of the study's grid matters.
func (s trialService) GetImportance(_ context.Context, request *trellisv1.GetImportanceRequest) (*trellisv1.GetImportanceResponse, error) {
	response, err := insight.Importance(s.store.Snapshot(), request)
	return response, statusOf(err)
}

// SuggestStudy returns the spec of a study that goes on from what this one has found.
func (s trialService) SuggestStudy(_ context.Context, request *trellisv1.SuggestStudyRequest) (*trellisv1.SuggestStudyResponse, error) {
	response, err := insight.SuggestStudy(s.store.Snapshot(), request, s.config.Models)
	return response, statusOf(err)
}
