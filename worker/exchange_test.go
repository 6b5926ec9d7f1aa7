package worker

import (
	"log/slog"
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
	// So many slots that the size of a batch is what bounds it.
	w := &Worker{config: Config{Slots: 1024}}
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
		batch, _ := w.nextBatch(maxBatchBytes)
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
			w.find(reports.GetAttempt()).acknowledge(uint32(next[reports.GetAttempt()]), 0)
		}
	}
	if sent != attempts*epochs || largest > maxBatchBytes || largest < maxBatchBytes/3 {
		t.Errorf("sent %d reports, want %d; the largest batch has %d bytes, at most %d may be", sent, attempts*epochs,
			largest, maxBatchBytes)
	}
}

// Little is under way of a worker that is not answered. It sends the rest as it is acknowledged, even a report that is
// larger than all that may be under way.
func TestWhatIsNotAcknowledgedIsBounded(t *testing.T) {
	const attempts, epochs, slots = 3, 2000, 4
	w := &Worker{config: Config{Slots: slots}}
	for number := range uint64(attempts) {
		a := newAttempt(t.Context(), &trellisv1.Assignment{
			Study: "s", Run: strings.Repeat("r", 64), Attempt: number + 1,
		}, position{})
		for epoch := range epochs {
			report := trainer.Report{Epoch: epoch + 1}
			if epoch == epochs/2 {
				report.Metrics = map[string]float64{strings.Repeat("validation_m", 2000): 1}
			}
			a.reported(report)
		}
		w.attempts = append(w.attempts, a)
	}
	for rounds := 0; ; rounds++ {
		bytes, last := 0, map[uint64]uint32{}
		largest := 0
		for {
			batch, _ := w.nextBatch(maxBatchBytes)
			if len(batch.GetReports()) == 0 {
				break
			}
			bytes += proto.Size(batch)
			for _, reports := range batch.GetReports() {
				largest = max(largest, len(reports.GetTrainLoss()))
				last[reports.GetAttempt()] = reports.GetFirstEpoch() + uint32(len(reports.GetTrainLoss())) - 1
			}
		}
		if len(last) == 0 {
			break
		}
		// What was sent in several batches is counted as if it were in one.
		if most := (unacknowledgedBytes + slots*unacknowledgedSlotBytes) * 5 / 4; bytes > most && largest > 1 {
			t.Errorf("round %d: %d bytes are under way, at most %d may be", rounds, bytes, most)
		}
		for attempt, epoch := range last {
			w.find(attempt).acknowledge(epoch, 0)
		}
		if rounds > attempts*epochs {
			t.Fatal("it does not end")
		}
	}
	for _, a := range w.attempts {
		if len(a.reports) > 0 {
			t.Errorf("attempt %d: %d reports were not sent", a.number(), len(a.reports))
		}
	}
}

// A worker that holds nothing gets no confirmations of its heartbeats, however long it is connected. Those that it remembers
// are the last ones.
func TestHeartbeatsThatAreNotConfirmedAreForgotten(t *testing.T) {
	w := &Worker{session: &session{first: 1}}
	for number := range uint64(1000) {
		if heartbeat := w.beat(); heartbeat.GetNumber() != number+1 {
			t.Fatalf("heartbeat %d has the number %d", number+1, heartbeat.GetNumber())
		}
	}
	if n := len(w.session.heartbeats); n != maxHeartbeats {
		t.Errorf("%d heartbeats are remembered", n)
	}
	last := w.session.heartbeats[maxHeartbeats-1]
	w.renew(&trellisv1.LeaseRenewal{Heartbeat: 1000})
	if !w.contact.Equal(last) || len(w.session.heartbeats) > 0 {
		t.Errorf("after the last one is confirmed: contact at %v, %d remembered", w.contact, len(w.session.heartbeats))
	}
}

// Lines of an attempt say which it is about, with whatever is added to them.
func TestAttemptHandler(t *testing.T) {
	var written strings.Builder
	plain := slog.NewTextHandler(&written, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})
	its := &attempt{assignment: &trellisv1.Assignment{Study: "s", Run: "r", Attempt: 7}}
	log := slog.New(attemptHandler{plain, its})
	log.Debug("not logged")
	log.Info("plain", "epoch", 1)
	log.With("a", 1).Info("with")
	log.WithGroup("g").Info("group", "a", 1)
	const want = `level=INFO msg=plain study=s run=r attempt=7 epoch=1
level=INFO msg=with study=s run=r attempt=7 a=1
level=INFO msg=group study=s run=r attempt=7 g.a=1
`
	if got := written.String(); got != want {
		t.Errorf("logged\n%swant\n%s", got, want)
	}
}
