package api

import (
	"context"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/chart"
)

// chartService responds from a snapshot of the store.
type chartService struct {
	trellisv1.UnimplementedChartServiceServer
	store Snapshots
}

// GetCurves returns the curves of a metric.
func (s chartService) GetCurves(
	ctx context.Context, request *trellisv1.GetCurvesRequest,
) (*trellisv1.GetCurvesResponse, error) {
	response, err := chart.Curves(s.store.Snapshot().Within(ctx), request)
	return response, Status(err)
}

// GetPoints returns trials with results as points of the grid.
func (s chartService) GetPoints(
	ctx context.Context, request *trellisv1.GetPointsRequest,
) (*trellisv1.GetPointsResponse, error) {
	response, err := chart.Points(s.store.Snapshot().Within(ctx), request)
	return response, Status(err)
}

// GetHeatMap returns the objective over two axes.
func (s chartService) GetHeatMap(
	ctx context.Context, request *trellisv1.GetHeatMapRequest,
) (*trellisv1.GetHeatMapResponse, error) {
	response, err := chart.HeatMap(s.store.Snapshot().Within(ctx), request)
	return response, Status(err)
}

// GetDistribution returns how the objectives are distributed.
func (s chartService) GetDistribution(
	ctx context.Context, request *trellisv1.GetDistributionRequest,
) (*trellisv1.GetDistributionResponse, error) {
	response, err := chart.Distribution(s.store.Snapshot().Within(ctx), request)
	return response, Status(err)
}

// GetHistory returns how the best objective has become better.
func (s chartService) GetHistory(
	ctx context.Context, request *trellisv1.GetHistoryRequest,
) (*trellisv1.GetHistoryResponse, error) {
	response, err := chart.History(s.store.Snapshot().Within(ctx), request)
	return response, Status(err)
}

// GetCoverage returns what has become of each part of the grid.
func (s chartService) GetCoverage(
	ctx context.Context, request *trellisv1.GetCoverageRequest,
) (*trellisv1.GetCoverageResponse, error) {
	response, err := chart.Coverage(s.store.Snapshot().Within(ctx), request)
	return response, Status(err)
}

// GetTimeLine returns which worker trained which run when.
func (s chartService) GetTimeLine(
	ctx context.Context, request *trellisv1.GetTimeLineRequest,
) (*trellisv1.GetTimeLineResponse, error) {
	response, err := chart.TimeLine(s.store.Snapshot().Within(ctx), request)
	return response, Status(err)
}
