package coordinator

import (
	"math"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

func TestReport(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("study", []uint32{4, 8}, []uint32{1, 2}))
		w := h.connect("worker", 1)
		w.train(w.assignment())
		w.train(w.assignment())
		response, err := h.trials.GetReport(h.Context(), &trellisv1.GetReportRequest{Study: "study"})
		if err != nil {
			t.Fatal(err)
		}
		report := response.GetReport()
		if report.GetStudy().GetName() != "study" || report.GetTrained() != 2 || report.GetPrefixes() != 2 ||
			report.GetEpochsTrained() != 4 || report.GetEpochsAlone() != 6 || len(report.GetDigest()) != 64 {
			t.Errorf("got %v", report)
		}
		if _, err := h.trials.GetReport(h.Context(),
			&trellisv1.GetReportRequest{Study: "none"}); status.Code(err) != codes.NotFound {
			t.Errorf("report on a study that there is none of: %v", err)
		}
	})
}

// Who trained a run that ended early trained its epochs, and none after them.
func TestARunThatEndsEarlyHasNoEpochAfterItsLast(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("s", []uint32{4}, []uint32{5}))
		w := h.connect("w", 1)
		a := w.assignment()
		w.report(a, 1)
		w.reportLoss(a, 2, math.NaN())
		w.outcome(&trellisv1.Outcome{
			Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(),
			Result: &trellisv1.Outcome_Success_{Success: &trellisv1.Outcome_Success{
				StopReason: trellisv1.StopReason_STOP_REASON_DIVERGED, Epochs: 2,
			}},
		})
		w.acknowledged(a.GetAttempt(), 2, true)
		response, err := h.trials.GetRun(h.Context(), &trellisv1.GetRunRequest{Study: "s", Run: a.GetRun()})
		if err != nil {
			t.Fatal(err)
		}
		if run := response.GetRun(); run.GetEpochs() != 2 || len(run.GetTrainings()) != 1 || run.GetTrainings()[0].GetUntil() != 2 {
			t.Errorf("run %v", run)
		}
	})
}
