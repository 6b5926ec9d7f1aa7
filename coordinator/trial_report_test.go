package coordinator

import (
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
