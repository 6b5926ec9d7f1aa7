package coordinator

import (
	"context"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/insight"
)

// GetReport accounts for every point of the study's grid.
func (s trialService) GetReport(_ context.Context, request *trellisv1.GetReportRequest) (*trellisv1.GetReportResponse, error) {
	report, err := insight.Report(s.store.Snapshot(), request.GetStudy())
	if err != nil {
		return nil, statusOf(err)
	}
	return &trellisv1.GetReportResponse{Report: report}, nil
}
