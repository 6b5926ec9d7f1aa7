package coordinator

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	trellisv1 "trellis/proto/trellis/v1"
)

// dispatchInterval is how often the leader looks for runs and free slots without having been woken.
const dispatchInterval = time.Second

func TestRunsAreNotGrantedToSilentWorkers(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		silent := h.connect("a-silent", 8)
		silent.silence()
		<-time.After(DefaultLease * 3 / 2) // The clock is synctest's.
		h.create(syntheticSpec("one", []uint32{4}, []uint32{1}))
		if held := h.worker("a-silent").GetRuns(); held != 0 {
			t.Errorf("a worker that has been silent for %v was granted %d runs", DefaultLease*3/2, held)
		}
		lively := h.connect("lively", 1)
		lively.train(lively.assignment())

		// As soon as it speaks again, it is as good as any other.
		h.create(syntheticSpec("two", []uint32{8, 16}, []uint32{1}))
		began := time.Now()
		silent.send(&trellisv1.SessionRequest{
			Message: &trellisv1.SessionRequest_Heartbeat{Heartbeat: &trellisv1.Heartbeat{}},
		})
		silent.train(silent.assignment())
		if waited := time.Since(began); waited > 2*dispatchInterval {
			t.Errorf("the worker had to wait for %v", waited)
		}
	})
}

// A worker that hears nothing stops before its lease ends. The leader waits for longer, and for the lease that the worker
// believes in, which a leader with a longer lease may have granted: nobody else trains its run meanwhile.
func TestALeaseHasAGrace(t *testing.T) {
	for _, granted := range []time.Duration{DefaultLease, 3 * DefaultLease} {
		t.Run(granted.String(), func(t *testing.T) {
			serve(t, Config{}, func(h *harness) {
				h.create(syntheticSpec("one", []uint32{4}, []uint32{2}))
				w := h.connect("w", 1)
				held := w.assignment()
				w.silence()
				other := h.connect("z", 1)
				if lease := time.Duration(h.worker("w").GetLeaseMilliseconds()) * time.Millisecond; lease != DefaultLease {
					t.Errorf("the worker's lease is recorded as %v, want %v", lease, DefaultLease)
				}
				known, err := h.store.Snapshot().Worker(nil, "w")
				if err != nil {
					t.Fatal(err)
				}
				worker := proto.CloneOf(known)
				worker.LeaseMilliseconds = uint32(granted.Milliseconds())
				if _, err = h.commands.Propose(t.Context(), &trellisv1.Command{
					Change: &trellisv1.Command_SetWorker{SetWorker: &trellisv1.SetWorkerCommand{Worker: worker}},
				}); err != nil {
					t.Fatal(err)
				}
				<-time.After(granted * 11 / 10) // The clock is synctest's.
				worker = h.worker("w")
				if worker.GetState() != trellisv1.WorkerState_WORKER_STATE_READY || worker.GetRuns() != 1 {
					t.Errorf("soon after its lease of %v the worker is %v, with %d runs", granted, worker.GetState(),
						worker.GetRuns())
				}
				<-time.After(granted*2/10 + DefaultLease/5)
				worker = h.worker("w")
				if worker.GetState() != trellisv1.WorkerState_WORKER_STATE_LOST || worker.GetRuns() != 0 {
					t.Errorf("long after its lease of %v the worker is %v, with %d runs", granted, worker.GetState(),
						worker.GetRuns())
				}
				if next := other.assignment(); next.GetRun() != held.GetRun() || next.GetAttempt() <= held.GetAttempt() {
					t.Errorf("attempt %d at run %s, want a later one than %d at %s", next.GetAttempt(), next.GetRun(),
						held.GetAttempt(), held.GetRun())
				}
			})
		})
	}
}

// What a worker says about how a run ended is something that a run can end with.
func TestOutcomesAreKnownOnes(t *testing.T) {
	for name, outcome := range map[string]*trellisv1.Outcome{
		"stop reason 99": {Result: &trellisv1.Outcome_Success_{
			Success: &trellisv1.Outcome_Success{StopReason: 99, Epochs: 1},
		}},
		"no stop reason":   {Result: &trellisv1.Outcome_Success_{Success: &trellisv1.Outcome_Success{Epochs: 1}}},
		"failure class 99": {Result: &trellisv1.Outcome_Failure{Failure: &trellisv1.Failure{Class: 99}}},
	} {
		t.Run(name, func(t *testing.T) {
			serve(t, Config{}, func(h *harness) {
				h.create(syntheticSpec("one", []uint32{4}, []uint32{2}))
				w := h.connect("w", 1)
				a := w.assignment()
				w.report(a, 1)
				outcome.Study, outcome.Run, outcome.Attempt = a.GetStudy(), a.GetRun(), a.GetAttempt()
				w.send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Outcome{Outcome: outcome}})
				for {
					if _, err := w.stream.Recv(); err != nil {
						if status.Code(err) != codes.InvalidArgument {
							t.Errorf("the session ended with %v", err)
						}
						break
					}
				}
				if p := h.study("one").GetProgress(); p.GetTrialsSucceeded() != 0 {
					t.Errorf("progress is %v", p)
				}
			})
		})
	}
}

// A worker whose reports are really lost can't deliver the rest: each of its sessions ends over the gap. The run is
// taken from it in the end, as it makes no progress.
func TestARunWhoseReportsAreLostIsEnded(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("gap", []uint32{4}, []uint32{3}))
		w := h.connect("w", 1)
		a := w.assignment()
		began := time.Now()
		for len(w.early) == 0 {
			w.report(a, 3)
			var message *trellisv1.SessionResponse
			var err error
			for err == nil && message.GetAssignment() == nil {
				message, err = w.stream.Recv()
			}
			if err == nil {
				// The run was taken from it while it was connected.
				w.early = append(w.early, message)
				break
			}
			<-time.After(5 * time.Second) // The clock is synctest's.
			w = h.connect("w", 1, a.GetAttempt())
			if len(w.welcome.GetAttempts()) == 0 {
				break
			}
			if waited := time.Since(began); waited > 2*DefaultHangTimeout {
				t.Fatalf("the run is still the worker's after %v", waited)
			}
		}
		w.train(w.assignment())
		if p := h.study("gap").GetProgress(); p.GetTrialsSucceeded() != 1 {
			t.Errorf("progress is %v", p)
		}
	})
}

// While the log is stalled and the queue full, the coordinator does not read what its workers say.
func TestAWorkerThatIsNotReadFromIsNotSilent(t *testing.T) {
	const epochs = 1 << 13 // Far more than the leader queues.
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("stall", []uint32{4}, []uint32{epochs}))
		w := h.connect("w", 1)
		a := w.assignment()
		synctest.Wait()
		released := make(chan struct{})
		h.log.hook(func(l *hookedLog) {
			l.proposing = func(command *trellisv1.Command) {
				if command.GetRecord() != nil || command.GetRecordAndGrant() != nil {
					<-released
				}
			}
		})
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for first := uint32(1); first <= epochs; first += 1 << 10 {
				batch := &trellisv1.ReportBatch{}
				for epoch := range uint32(1 << 10) {
					batch.Reports = append(batch.Reports, reportsOf(a, first+epoch, 0))
				}
				w.send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Reports{Reports: batch}})
			}
		}()
		<-time.After(3 * DefaultLease) // The clock is synctest's.
		state := h.worker("w").GetState()
		close(released)
		if state != trellisv1.WorkerState_WORKER_STATE_READY {
			t.Fatalf("the worker is %v", state)
		}
		<-sent
		w.succeed(a, epochs)
		w.acknowledged(a.GetAttempt(), epochs, true)
	})
}

func TestAWorkerThatSpeaksBeforeItsLeaseHasEndedIsNotLost(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		w := h.connect("w", 1)
		w.silence()
		synctest.Wait()
		var verified atomic.Int32
		h.log.hook(func(l *hookedLog) {
			l.verifying = func() {
				if verified.Add(1) == 1 {
					heartbeat := &trellisv1.SessionRequest_Heartbeat{Heartbeat: &trellisv1.Heartbeat{}}
					w.send(&trellisv1.SessionRequest{Message: heartbeat})
					<-time.After(time.Millisecond) // The clock is synctest's: it has arrived.
				}
			}
		})
		<-time.After(DefaultLease * 3) // The clock is synctest's.
		if state := h.worker("w").GetState(); verified.Load() != 1 ||
			state != trellisv1.WorkerState_WORKER_STATE_READY {
			t.Errorf("after the lease was checked %d times the worker is %v", verified.Load(), state)
		}
		<-time.After(DefaultLease * 3)
		if state := h.worker("w").GetState(); state != trellisv1.WorkerState_WORKER_STATE_LOST {
			t.Errorf("the worker, silent again, is %v", state)
		}
	})
}

// A long epoch of the synthetic model counts steps too.
func TestALongEpochDoesNotHideAHang(t *testing.T) {
	serve(t, Config{HangTimeout: time.Minute}, func(h *harness) {
		spec := syntheticSpec("long", []uint32{4}, []uint32{2})
		spec.Synthetic = &trellisv1.Synthetic{EpochTime: durationpb.New(time.Hour)}
		h.create(spec)
		w := h.connect("w", 1)
		a := w.assignment()
		began := time.Now()
		if stop := w.next().GetStop(); stop.GetAttempt() != a.GetAttempt() {
			t.Fatalf("a worker whose run stands still was sent %v", stop)
		}
		if waited := time.Since(began); waited > 2*time.Minute {
			t.Errorf("the run was ended after %v", waited)
		}
	})
}

// A leader that can't be sure that it still leads takes nothing from anybody: it may be cut off itself.
func TestNoLeaseExpiresWithoutVerifiedLeadership(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		w := h.connect("w", 1)
		w.silence()
		h.log.hook(func(l *hookedLog) { l.unverified = ErrNotLeader })
		<-time.After(3 * DefaultLease) // The clock is synctest's.
		if state := h.worker("w").GetState(); state != trellisv1.WorkerState_WORKER_STATE_READY {
			t.Errorf("the worker is %v", state)
		}
		h.log.hook(func(l *hookedLog) { l.unverified = nil })
		<-time.After(DefaultLease)
		if state := h.worker("w").GetState(); state != trellisv1.WorkerState_WORKER_STATE_LOST {
			t.Errorf("when leadership is verified again, the worker is %v", state)
		}
	})
}

// When this node leads again after a time in which it did not listen, workers have a whole lease to come back.
func TestLeasesStartAfreshWithATerm(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("afresh", []uint32{4}, []uint32{2}))
		w := h.connect("w", 1)
		a := w.assignment()
		err := h.whilePaused(h.Context(), errStopping, func() error {
			<-time.After(3 * DefaultLease) // The clock is synctest's.
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(DefaultLease / 2)
		if state := h.worker("w").GetState(); state != trellisv1.WorkerState_WORKER_STATE_READY {
			t.Fatalf("the worker is %v, half a lease after the term has begun", state)
		}
		w = h.connect("w", 1, a.GetAttempt())
		if standing := w.welcome.GetAttempts(); len(standing) != 1 {
			t.Errorf("attempts %v stand, want %d", standing, a.GetAttempt())
		}
		w.silence()
		<-time.After(2 * DefaultLease)
		if state := h.worker("w").GetState(); state != trellisv1.WorkerState_WORKER_STATE_LOST {
			t.Errorf("the worker, silent, is %v", state)
		}
	})
}
