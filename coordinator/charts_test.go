package coordinator

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

// TestCharts asks for everything that charts show of a study that has been trained.
func TestCharts(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("s", []uint32{4, 8}, []uint32{1, 2}))
		w := h.connect("w", 1)
		w.train(w.assignment())
		w.train(w.assignment())
		charts := trellisv1.NewChartServiceClient(h.conn)
		ctx := h.Context()

		curves, err := charts.GetCurves(ctx, &trellisv1.GetCurvesRequest{Study: "s"})
		if err != nil || len(curves.GetTrials()) == 0 || curves.GetMetric() != "validation_loss" ||
			len(curves.GetValues()) != 4*pointsOf(curves) {
			t.Errorf("curves are %v, %v", curves, err)
		}
		points, err := charts.GetPoints(ctx, &trellisv1.GetPointsRequest{Study: "s", Fields: []string{"test_loss"}})
		if err != nil || len(points.GetObjectives()) != 8*len(points.GetTrials()) || len(points.GetTrials()) == 0 {
			t.Errorf("points are %v, %v", points, err)
		}
		heat, err := charts.GetHeatMap(ctx, &trellisv1.GetHeatMapRequest{Study: "s", X: "latent_dim", Y: "learning_rate"})
		if err != nil || len(heat.GetBest()) != int(heat.GetColumns()*heat.GetRows()) {
			t.Errorf("the heat map is %v, %v", heat, err)
		}
		history, err := charts.GetHistory(ctx, &trellisv1.GetHistoryRequest{Study: "s"})
		if err != nil || len(history.GetSteps()) == 0 || history.GetSteps()[0].GetAt().GetTime() == nil {
			t.Errorf("the history is %v, %v", history, err)
		}
		distribution, err := charts.GetDistribution(ctx, &trellisv1.GetDistributionRequest{Study: "s"})
		if err != nil || distribution.GetFinite() != uint64(len(points.GetTrials())) {
			t.Errorf("the distribution is %v, %v", distribution, err)
		}
		coverage, err := charts.GetCoverage(ctx, &trellisv1.GetCoverageRequest{Study: "s"})
		if err != nil || len(coverage.GetLayers()) != 1 || coverage.GetLayers()[0].GetTotal() != distribution.GetFinite() {
			t.Errorf("the coverage is %v, %v", coverage, err)
		}
		line, err := charts.GetTimeLine(ctx, &trellisv1.GetTimeLineRequest{Study: "s"})
		if err != nil || len(line.GetWorkers()) != 1 || len(line.GetBars()) == 0 {
			t.Errorf("the time line is %v, %v", line, err)
		}
		best := points.GetTrials()[0]
		trial, err := h.trials.GetTrial(ctx, &trellisv1.GetTrialRequest{Study: "s", Trial: best, Losses: true})
		if err != nil || trial.GetTrial().GetIndex() != best || len(trial.GetTrial().GetValidationLoss()) == 0 {
			t.Errorf("trial %d is %v, %v", best, trial, err)
		}

		for says, ask := range map[string]func() error{
			`unknown parameter "latent": did you mean "latent_dim"?`: func() error {
				_, err := charts.GetHeatMap(ctx, &trellisv1.GetHeatMapRequest{Study: "s", X: "latent", Y: "seed"})
				return err
			},
			"x and y must be two parameters": func() error {
				_, err := charts.GetHeatMap(ctx, &trellisv1.GetHeatMapRequest{Study: "s", X: "seed", Y: "seed"})
				return err
			},
			`unknown metric "validation_los": did you mean "validation_loss"?`: func() error {
				_, err := charts.GetCurves(ctx, &trellisv1.GetCurvesRequest{Study: "s", Metric: "validation_los"})
				return err
			},
			"best, sample and open must be at most 10000 together": func() error {
				many := uint32(9000)
				_, err := charts.GetCurves(ctx, &trellisv1.GetCurvesRequest{Study: "s", Best: &many, Sample: &many})
				return err
			},
			`unknown field "objectve": did you mean "objective"?`: func() error {
				_, err := charts.GetPoints(ctx, &trellisv1.GetPointsRequest{Study: "s", Filter: "objectve < 1"})
				return err
			},
			`unknown field "test_los"`: func() error {
				_, err := charts.GetPoints(ctx, &trellisv1.GetPointsRequest{Study: "s", Fields: []string{"test_los"}})
				return err
			},
			"x and y must be two parameters, or none": func() error {
				_, err := charts.GetCoverage(ctx, &trellisv1.GetCoverageRequest{Study: "s", X: "seed"})
				return err
			},
		} {
			if err := ask(); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), says) {
				t.Errorf("%v, want %q", err, says)
			}
		}
		if _, err := charts.GetTimeLine(ctx, &trellisv1.GetTimeLineRequest{Study: "none"}); status.Code(err) != codes.NotFound {
			t.Errorf("of a study that there is not: %v", err)
		}
		if _, err := h.trials.GetTrial(ctx, &trellisv1.GetTrialRequest{Study: "s", Trial: 1 << 40}); status.Code(err) != codes.NotFound {
			t.Errorf("a trial that there is not: %v", err)
		}
	})
}

// pointsOf is how many points curves have together.
func pointsOf(curves *trellisv1.GetCurvesResponse) (n int) {
	for _, epochs := range curves.GetEpochs() {
		n += int((epochs + curves.GetEpochsPerPoint() - 1) / curves.GetEpochsPerPoint())
	}
	return n
}
