package lead

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

// Why weights could not be saved is kept in short: a run may have 10,000 milestones.
func TestReasonsOfMissingWeightsAreShort(t *testing.T) {
	leading(t, func(l *Leader, log *testLog) {
		log.create("study", 2)
		w := connect(log, l, hello("worker"))
		a := w.assignment()
		w.send(reportsRequest(reportOf(a, 1)))
		w.send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Checkpoint{
			Checkpoint: &trellisv1.CheckpointReport{
				Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(),
				Checkpoint: &trellisv1.Checkpoint{Epoch: 1}, Missing: "no room" + strings.Repeat("!", 4096),
			},
		}})
		synctest.Wait()
		run, err := log.store.Snapshot().Run(nil, a.GetStudy(), a.GetRun())
		if err != nil {
			t.Fatal(err)
		}
		missing := run.GetMissingWeights()
		if len(missing) != 1 || !strings.HasPrefix(missing[0].GetReason(), "no room!") ||
			len(missing[0].GetReason()) > maxMissing+30 {
			t.Errorf("recorded as missing: %v", missing)
		}
	})
}

// However much a worker brings about, the log has a line every ten seconds, which says how often it happened.
func TestWarningsAboutWorkersAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		w := &warnings{logger: slog.New(slog.NewTextHandler(&log, nil))}
		for range 1000 {
			w.warn("first", "epoch", 1)
			w.warn("second")
		}
		time.Sleep(warningInterval)
		w.warn("first", "epoch", 2)
		if lines := strings.Count(log.String(), "\n"); lines != 3 || !strings.Contains(log.String(), "epoch=2 others=999") {
			t.Errorf("logged %s", log.String())
		}
	})
}

// A worker that has left is not served on: what is left of its last batch is dropped.
func TestABatchIsNotReadOnAfterItsSessionHasEnded(t *testing.T) {
	leading(t, func(l *Leader, log *testLog) {
		left := errors.New("left")
		ctx, end := context.WithCancelCause(log.ctx)
		end(left)
		session := l.sessions.open(log.ctx, "worker", func(error) {})
		defer l.sessions.close(session)
		w := &testWorker{T: log.T, ctx: log.ctx, sent: make(chan *trellisv1.SessionRequest, 1)}
		w.sent <- reportsRequest(&trellisv1.Reports{Study: "none", Run: "none", Attempt: 7})
		if err := l.host.receive(ctx, session, w); !errors.Is(err, left) {
			t.Errorf("ended with %v", err)
		}
		if acks := session.take().acks; len(acks) > 0 {
			t.Errorf("answered %v", acks)
		}
	})
}
