package insight

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/account"
)

const (
	pending   = trellisv1.RunState_RUN_STATE_PENDING
	leased    = trellisv1.RunState_RUN_STATE_LEASED
	succeeded = trellisv1.RunState_RUN_STATE_SUCCEEDED
	failed    = trellisv1.RunState_RUN_STATE_FAILED
	pruned    = trellisv1.RunState_RUN_STATE_PRUNED
	canceled  = trellisv1.RunState_RUN_STATE_CANCELED
)

// TestCountAnswers: every class, of runs that were trained and taken over to all extents.
func TestCountAnswers(t *testing.T) {
	for _, test := range []struct {
		name           string
		state          trellisv1.RunState
		epochs, shared uint32
		want           *trellisv1.Report
		// saved is in seconds: a shared epoch took 2 s, one of the study's own 1 s. What was trained for no result is not.
		saved float64
	}{
		{"nothing yet", pending, 0, 0, &trellisv1.Report{Open: 3}, 0},
		{"the first is reached", leased, 10, 0, &trellisv1.Report{Trained: 1, Open: 2}, 0},
		{"the first is passed", leased, 15, 0, &trellisv1.Report{Prefixes: 1, Open: 2}, -5},
		{"all are reached", succeeded, 30, 0, &trellisv1.Report{Prefixes: 2, Trained: 1}, 30},
		{"stopped at once", succeeded, 4, 0, &trellisv1.Report{EarlyStopped: 1, Collapsed: 2}, 8},
		{
			"stopped after the first", succeeded, 15, 0,
			&trellisv1.Report{Prefixes: 1, EarlyStopped: 1, Collapsed: 1}, 25,
		},
		{"stopped where one ends", succeeded, 20, 0, &trellisv1.Report{Prefixes: 1, Trained: 1, EarlyStopped: 1}, 30},
		{"stopped before the last ends", succeeded, 25, 0, &trellisv1.Report{Prefixes: 2, EarlyStopped: 1}, 30},
		{"all are taken over", succeeded, 30, 30, &trellisv1.Report{Shared: 3}, 120},
		{"an early end is taken over", succeeded, 15, 15, &trellisv1.Report{Shared: 3}, 80},
		{"some are taken over", pending, 20, 20, &trellisv1.Report{Shared: 2, Open: 1}, 60},
		{"the last is trained", succeeded, 30, 20, &trellisv1.Report{Shared: 2, Trained: 1}, 100},
		{"most is taken over", succeeded, 30, 15, &trellisv1.Report{Shared: 1, Prefixes: 1, Trained: 1}, 85},
		{"failed", failed, 12, 0, &trellisv1.Report{Prefixes: 1, Failed: 2}, -2},
		{"pruned", pruned, 20, 0, &trellisv1.Report{Prefixes: 1, Trained: 1, Pruned: 1}, 10},
		{"canceled", canceled, 9, 0, &trellisv1.Report{Canceled: 3}, -9},
	} {
		t.Run(test.name, func(t *testing.T) {
			run, _ := testRun("a", 16, 0, 10, 20, 30)
			run.State, run.Epochs, run.SharedEpochs = test.state, test.epochs, test.shared
			run.SharedSeconds, run.TrainingSeconds = float64(2*test.shared), float64(test.epochs-test.shared)
			its := results.Served{Run: run}
			for milestone, epochs := range run.Milestones {
				if epochs <= run.Epochs || run.State == succeeded {
					its.Answers = append(its.Answers, &trellisv1.Trial{
						Parameters: its.Parameters(milestone), Epochs: min(epochs, run.Epochs),
						Objective: proto.Float64(1),
					})
				}
			}
			sum := account.Of(slices.Values([]results.Served{its}))
			equal(t, "trials", &trellisv1.Report{
				Trained: sum.Trained, Prefixes: sum.Prefixes, EarlyStopped: sum.EarlyStopped, Collapsed: sum.Collapsed,
				Shared: sum.Shared, Pruned: sum.Pruned, Failed: sum.Failed, Canceled: sum.Canceled, Open: sum.Open,
			}, test.want)
			if math.Abs(sum.SecondsSaved-test.saved) > 1e-9 {
				t.Errorf("%v seconds were saved, want %v", sum.SecondsSaved, test.saved)
			}
		})
	}
}

// TestReportFailures: what failed is listed with its trials, up to a limit, and counted beyond it.
func TestReportFailures(t *testing.T) {
	const failed = MaxReportedFailures + 20
	var points []trainedTrial
	for i := range failed + 10 {
		point := at1(uint32(i+1), 1e-3, 1e-5, 0)
		point.losses, point.failed, point.milestones = nil, i < failed, []uint32{2, 4}
		if i < failed {
			point.losses = []float64{1, 1}
		}
		points = append(points, point)
	}
	store := newTrainedStore(t, nil, points...)
	report, err := Report(store.Snapshot(), "s")
	ok(t, err)
	if report.FailuresTotal != failed || len(report.Failures) != MaxReportedFailures || report.Failed != failed ||
		report.Trained != failed || report.Open != 20 {
		t.Errorf("%d failures in all, %d are listed: %v", report.FailuresTotal, len(report.Failures), report)
	}
	for i, failure := range report.Failures {
		equal(t, "failure", failure, &trellisv1.Report_FailedRun{
			Run: fmt.Sprint(
				"run ",
				i,
			), Error: "memory ran out, on worker w: too large", Trials: []uint64{uint64(2*i + 1)},
			Parameters: &trellisv1.Parameters{MaxEpochs: 4, Seed: 1, Values: trellisv1.ValuesOf(map[string]any{"latent_dim": uint32(i + 1), "learning_rate": 1e-3, "weight_decay": 1e-5, "batch_size": 256})},
		})
	}
	if _, err := Report(store.Snapshot(), "x"); !errors.Is(err, results.ErrNotFound) {
		t.Errorf("report on a study that there is none of: %v", err)
	}
}
