package lead

import (
	"context"
	"fmt"
	"sync/atomic"
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

// A worker that holds nothing sends few heartbeats. It gets runs until it has missed one, and its lease begins with the
// first of them. It is lost long after, and not before.
func TestIdleWorkersHaveLongerLeases(t *testing.T) {
	state := func(log *testLog) trellisv1.WorkerState { return log.worker("idle").GetState() }
	const check = testLease / heartbeatsPerLease
	// The term's leases have begun when the worker comes.
	leading := func(t *testing.T, test func(*Leader, *testLog)) {
		leading(t, func(l *Leader, log *testLog) {
			synctest.Wait()
			test(l, log)
		})
	}
	t.Run("granted in time", func(t *testing.T) {
		leading(t, func(l *Leader, log *testLog) {
			w := connect(log, l, hello("idle"))
			time.Sleep(testLease + testLease/idleQuietShare - time.Millisecond)
			log.create("study", 4)
			w.assignment()
			time.Sleep(testLease + testLease/graceShare)
			if got := state(log); got != trellisv1.WorkerState_WORKER_STATE_READY {
				t.Errorf("a lease after its first run was granted the worker is %v", got)
			}
			time.Sleep(check)
			if got := state(log); got != trellisv1.WorkerState_WORKER_STATE_LOST {
				t.Errorf("after its lease and the grace the worker is %v", got)
			}
		})
	})
	t.Run("not granted", func(t *testing.T) {
		leading(t, func(l *Leader, log *testLog) {
			w := connect(log, l, hello("idle"))
			time.Sleep(testLease + testLease/idleQuietShare + time.Millisecond)
			log.create("study", 4)
			time.Sleep(idleLeases*testLease + testLease/graceShare - (testLease + testLease/idleQuietShare + time.Millisecond))
			if got := state(log); got != trellisv1.WorkerState_WORKER_STATE_READY || log.worker("idle").GetRuns() > 0 {
				t.Errorf("before its time is over the worker is %v and holds %d runs", got, log.worker("idle").GetRuns())
			}
			time.Sleep(check)
			if got := state(log); got != trellisv1.WorkerState_WORKER_STATE_LOST {
				t.Errorf("when its time is over the worker is %v", got)
			}
			<-w.ended
		})
	})
	t.Run("heard again", func(t *testing.T) {
		leading(t, func(l *Leader, log *testLog) {
			w := connect(log, l, hello("idle"))
			time.Sleep(2 * testLease)
			log.create("study", 4)
			w.send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Heartbeat{
				Heartbeat: &trellisv1.Heartbeat{Number: 1},
			}})
			w.assignment()
		})
	})
	// A dead worker that already holds something does not live longer because it is granted more.
	t.Run("granted more", func(t *testing.T) {
		leading(t, func(l *Leader, log *testLog) {
			two := hello("idle")
			two.Slots = 2
			w := connect(log, l, two)
			log.create("study", 4)
			w.assignment()
			time.Sleep(testLease/2 - time.Second)
			log.createAt("another", 8, 4)
			w.assignment()
			time.Sleep(testLease + testLease/graceShare + check - (testLease/2 - time.Second))
			if got := state(log); got != trellisv1.WorkerState_WORKER_STATE_LOST {
				t.Errorf("after its lease and the grace the worker is %v", got)
			}
		})
	})
}

// Many leases that run out together end together: one by one, each would wait for a write to the disk of its own.
func TestLeasesEndTogether(t *testing.T) {
	leading(t, func(l *Leader, log *testLog) {
		synctest.Wait()
		const workers = 5
		for n := range workers {
			connect(log, l, hello(fmt.Sprint("worker-", n)))
		}
		var waiting atomic.Int64
		gate := make(chan struct{})
		log.hook(func(command *trellisv1.Command) {
			if command.GetSetWorker().GetWorker().GetState() == trellisv1.WorkerState_WORKER_STATE_LOST {
				waiting.Add(1)
				<-gate
			}
		})
		// All fall silent, so one more lease has to pass.
		time.Sleep((idleLeases + 2) * testLease)
		synctest.Wait()
		if n := waiting.Load(); n != workers {
			t.Errorf("%d leases end together, want %d", n, workers)
		}
		close(gate)
		for n := range workers {
			if state := log.worker(fmt.Sprint("worker-", n)).GetState(); state != trellisv1.WorkerState_WORKER_STATE_LOST {
				t.Errorf("worker %d is %v", n, state)
			}
		}
	})
}
