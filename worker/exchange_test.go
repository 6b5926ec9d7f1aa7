package worker

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

// A batch is no larger than the coordinator takes, whatever its reports are of, and every report is sent once, in order.
func TestBatchesAreBoundedInBytes(t *testing.T) {
	const attempts, epochs = 5, 3000
	loss := 0.5
	w := &Worker{}
	for number := range uint64(attempts) {
		a := newAttempt(t.Context(), &trellisv1.Assignment{
			Study: strings.Repeat("s", 100), Run: strings.Repeat("r", 64), Attempt: number + 1,
		}, position{})
		for epoch := range epochs {
			report := trainer.Report{Epoch: epoch + 1, TestLoss: &loss, Metrics: map[string]float64{}}
			for _, name := range []string{"accuracy", "entropy", "precision"} {
				report.Metrics["validation_"+name] = loss
			}
			report.TestMetrics = report.Metrics
			a.reported(report)
		}
		w.attempts = append(w.attempts, a)
	}
	next := [attempts + 1]int{}
	sent, largest := 0, 0
	for {
		batch := w.nextBatch()
		if len(batch.GetReports()) == 0 {
			break
		}
		largest = max(largest, proto.Size(batch))
		for _, reports := range batch.GetReports() {
			if int(reports.GetFirstEpoch()) != next[reports.GetAttempt()]+1 {
				t.Fatalf("attempt %d: epoch %d after %d", reports.GetAttempt(), reports.GetFirstEpoch(),
					next[reports.GetAttempt()])
			}
			next[reports.GetAttempt()] += len(reports.GetTrainLoss())
			sent += len(reports.GetTrainLoss())
		}
	}
	if sent != attempts*epochs || largest > maxBatchBytes || largest < maxBatchBytes/3 {
		t.Errorf("sent %d reports, want %d; the largest batch has %d bytes, at most %d may be", sent, attempts*epochs,
			largest, maxBatchBytes)
	}
}
