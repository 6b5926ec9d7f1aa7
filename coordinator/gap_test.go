package coordinator

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/coordinator/replication"
	trellisv1 "trellis/proto/trellis/v1"
)

// After a restore, a worker may hold an attempt of which more was acknowledged than is recorded now. What is missing
// will never come: the worker has forgotten it. The attempt ends, and the run begins again where its record ends.
func TestAnAttemptThatIsAheadOfItsRecordEnds(t *testing.T) {
	for _, test := range []struct {
		name string
		send func(*fakeWorker, *trellisv1.Assignment)
	}{
		{"reports", func(w *fakeWorker, a *trellisv1.Assignment) { w.report(a, 3) }},
		{"outcome", func(w *fakeWorker, a *trellisv1.Assignment) { w.succeed(a, 3) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			serve(t, Config{Lease: time.Second}, func(h *harness) {
				h.create(syntheticSpec("ahead", []uint32{4}, []uint32{3}))
				w := h.connect("worker", 1)
				a := w.assignment()
				w.report(a, 1)
				w.acknowledged(a.GetAttempt(), 1, false)
				test.send(w, a)
				var b *trellisv1.Assignment
				for b == nil {
					b = w.next().GetAssignment()
				}
				if b.GetAttempt() <= a.GetAttempt() || b.GetEpochs() != 1 {
					t.Errorf("the next attempt is %d after %d epochs, want one after %d, after 1 epoch", b.GetAttempt(),
						b.GetEpochs(),
						a.GetAttempt())
				}
				w.train(b)
				if study := h.study("ahead"); study.GetProgress().GetTrialsSucceeded() != 1 {
					t.Errorf("the trial is not answered: %v", study.GetProgress())
				}
			})
		})
	}
}

// What an ended session has sent may still wait for the log behind what the log has refused. It is not recorded without
// that: its worker comes back, still holds the attempt, and sends both again.
func TestWhatFollowsARefusalIsNotRecordedWithoutIt(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("order", []uint32{4}, []uint32{3}))
		w := h.connect("worker", 1)
		a := w.assignment()
		waits, refuse := make(chan struct{}), make(chan struct{})
		refused := false
		h.log.hook(func(l *hookedLog) {
			l.refusing = func(command *trellisv1.Command) error {
				if command.GetRecord() == nil && command.GetRecordAndGrant() == nil || refused {
					return nil
				}
				refused = true
				close(waits)
				<-refuse
				return replication.ErrLeadershipLost
			}
		})
		w.report(a, 1)
		<-waits
		w.report(a, 2)
		synctest.Wait()
		close(refuse)
		if response, err := w.stream.Recv(); status.Code(err) != codes.Unavailable {
			t.Fatalf("the session goes on after the log has refused what it sent: %v, %v", response, err)
		}
		w = h.connect("worker", 1, a.GetAttempt())
		if standing := w.welcome.GetAttempts(); !slices.Equal(standing, []uint64{a.GetAttempt()}) {
			t.Fatalf("attempts %v stand, want %d", standing, a.GetAttempt())
		}
		w.report(a, 1)
		w.report(a, 2)
		w.acknowledged(a.GetAttempt(), 2, false)
	})
}
