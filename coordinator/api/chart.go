package api

import (
	"context"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/chart"
)

// chartService responds from a snapshot of the store. What was answered about a study as it is now is kept.
type chartService struct {
	trellisv1.UnimplementedChartServiceServer
	store Snapshots
}

// GetCurves returns the curves of a metric.
func (s chartService) GetCurves(
	ctx context.Context, request *trellisv1.GetCurvesRequest,
) (*trellisv1.GetCurvesResponse, error) {
	response, err := results.Answered(s.store.Snapshot().Within(ctx), request.GetStudy(), request, chart.Curves)
	return response, Status(err)
}

// GetPoints returns trials with results as points of the grid.
func (s chartService) GetPoints(
	ctx context.Context, request *trellisv1.GetPointsRequest,
) (*trellisv1.GetPointsResponse, error) {
	response, err := results.Answered(s.store.Snapshot().Within(ctx), request.GetStudy(), request, chart.Points)
	return response, Status(err)
}

// GetHeatMap returns the objective over two axes.
func (s chartService) GetHeatMap(
	ctx context.Context, request *trellisv1.GetHeatMapRequest,
) (*trellisv1.GetHeatMapResponse, error) {
	response, err := results.Answered(s.store.Snapshot().Within(ctx), request.GetStudy(), request, chart.HeatMap)
	return response, Status(err)
}

// GetDistribution returns how the objectives are distributed.
func (s chartService) GetDistribution(
	ctx context.Context, request *trellisv1.GetDistributionRequest,
) (*trellisv1.GetDistributionResponse, error) {
	response, err := results.Answered(s.store.Snapshot().Within(ctx), request.GetStudy(), request, chart.Distribution)
	return response, Status(err)
}

// GetHistory returns how the best objective has become better.
func (s chartService) GetHistory(
	ctx context.Context, request *trellisv1.GetHistoryRequest,
) (*trellisv1.GetHistoryResponse, error) {
	response, err := results.Answered(s.store.Snapshot().Within(ctx), request.GetStudy(), request, chart.History)
	return response, Status(err)
}

// GetCoverage returns what has become of each part of the grid.
func (s chartService) GetCoverage(
	ctx context.Context, request *trellisv1.GetCoverageRequest,
) (*trellisv1.GetCoverageResponse, error) {
	response, err := results.Answered(s.store.Snapshot().Within(ctx), request.GetStudy(), request, chart.Coverage)
	return response, Status(err)
}

// GetTimeLine returns which worker trained which run when.
func (s chartService) GetTimeLine(
	ctx context.Context, request *trellisv1.GetTimeLineRequest,
) (*trellisv1.GetTimeLineResponse, error) {
	snapshot := s.store.Snapshot().Within(ctx)
	if request.To == nil { // It ends with the last command, whatever that was about.
		response, err := chart.TimeLine(snapshot, request)
		return response, Status(err)
	}
	response, err := results.Answered(snapshot, request.GetStudy(), request, chart.TimeLine)
	return response, Status(err)
}
