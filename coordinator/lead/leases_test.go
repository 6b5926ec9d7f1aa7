package lead

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

// A worker comes back at the moment at which the leader, which found it silent, marks it as lost.
func TestAWorkerThatComesBackAsItsLeaseExpiresIsNotLeftBehind(t *testing.T) {
	leading(t, func(l *Leader, log *testLog) {
		connect(log, l, hello("late"))
		expired := false
		log.hook(func(command *trellisv1.Command) {
			if command.GetSetWorker().GetWorker().GetState() == trellisv1.WorkerState_WORKER_STATE_READY && !expired {
				expired = true
				if err := l.leases.lose(context.Background(), "late"); err != nil {
					t.Error(err)
				}
			}
		})
		// Whether the session begins or not, the worker must not stay connected and lost.
		changed := hello("late")
		changed.Version = "newer"
		second := connect(log, l, changed)
		select {
		case <-second.ended:
		case <-time.After(testLease):
			t.Fatalf("the worker is %v, and its session goes on", log.worker("late").GetState())
		}
		if !expired {
			t.Fatal("the lease did not expire in between")
		}
		third := connect(log, l, hello("late"))
		log.create("next", 4)
		third.assignment()
	})
}

func TestALeaseOfAWorkerThatHasLeftEndsWithoutAWord(t *testing.T) {
	leading(t, func(l *Leader, log *testLog) {
		w := connect(log, l, hello("w"))
		w.send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Goodbye{Goodbye: &trellisv1.Goodbye{}}})
		synctest.Wait()
		for _, name := range []string{"w", "nobody"} {
			if err := l.leases.lose(log.ctx, name); err != nil {
				t.Error(err)
			}
		}
		if state := log.worker("w").GetState(); state != trellisv1.WorkerState_WORKER_STATE_GONE {
			t.Errorf("the worker is %v", state)
		}
	})
}
