package lead

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/coordinator/access"
	trellisv1 "trellis/proto/trellis/v1"
)

func TestAcknowledgementsThatNobodyTakesAreBounded(t *testing.T) {
	var cause error
	session := newSessions().open(t.Context(), "worker", func(err error) { cause = err })
	for attempt := range uint64(2 * maxAcks) {
		session.acknowledge(&trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Reports{
			Reports: &trellisv1.Reports{Study: fmt.Sprint("study-", attempt), Attempt: attempt, FirstEpoch: 1},
		}})
	}
	if acks := session.take().acks; len(acks) != maxAcks {
		t.Error("acknowledgements pile up")
	}
	if status.Code(cause) != codes.ResourceExhausted {
		t.Errorf("the session ends with %v", cause)
	}
}

func TestASessionEndsWithItsTerm(t *testing.T) {
	leading(t, func(l *Leader, log *testLog) {
		term, end := context.WithCancelCause(log.ctx)
		w := open(log, func(w *testWorker) error { return l.host.serve(term, log.ctx, hello("worker"), w) })
		end(ErrNotLeading)
		synctest.Wait()
		select {
		case <-w.ended:
			if !errors.Is(w.why, ErrNotLeading) {
				t.Errorf("the session has ended because of %v, want %v", w.why, ErrNotLeading)
			}
		default:
			t.Error("the session goes on after its term")
		}
	})
}

// What a session reads when its term ends may come into the queue after that was emptied. It is not recorded in a later
// term: its worker sends it again, and a checkpoint may refer to what has been deleted since.
func TestWhatIsLeftOfAnEarlierTermIsNotRecorded(t *testing.T) {
	leading(t, func(l *Leader, log *testLog) {
		log.create("late", 4)
		w := connect(log, l, hello("worker"))
		a := w.assignment()
		term, end := context.WithCancel(context.Background())
		earlier := newSessions().open(term, "worker", func(error) {})
		end()
		late := &trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Reports{Reports: reportOf(a, 1)}}
		recorded := func() uint32 {
			t.Helper()
			synctest.Wait()
			run, err := log.store.Snapshot().Run(nil, a.GetStudy(), a.GetRun())
			if err != nil {
				t.Fatal(err)
			}
			return run.GetEpochs()
		}
		if err := l.recorder.put(log.ctx, earlier, late); err != nil {
			t.Fatal(err)
		}
		if epochs := recorded(); epochs != 0 {
			t.Errorf("%d epochs are recorded", epochs)
		}
		w.send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Reports{
			Reports: &trellisv1.ReportBatch{Reports: []*trellisv1.Reports{reportOf(a, 1)}},
		}})
		if epochs := recorded(); epochs != 1 {
			t.Errorf("%d epochs are recorded of what came in this term", epochs)
		}
	})
}

// A program's reports have no losses to count.
func TestReportsWithoutLossesAreAcknowledged(t *testing.T) {
	session := newSessions().open(t.Context(), "worker", func(error) {})
	session.acknowledge(&trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Reports{
		Reports: &trellisv1.Reports{Attempt: 7, FirstEpoch: 4, Epochs: 3},
	}})
	if acks := session.take().acks; len(acks) != 1 || acks[7].GetEpoch() != 6 {
		t.Errorf("acknowledged: %v, want epochs up to 6", acks)
	}
}

// Heartbeats of a worker that holds nothing are not answered. It learns with its first assignment how young its lease
// is, and from then on of each heartbeat that has arrived.
func TestIdleWorkersAreNotAnswered(t *testing.T) {
	leading(t, func(l *Leader, log *testLog) {
		w := connect(log, l, hello("worker"))
		if response := <-w.gotten; response.GetWelcome() == nil {
			t.Fatalf("got %v, want a welcome", response)
		}
		beat := func(number uint64) {
			w.send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Heartbeat{
				Heartbeat: &trellisv1.Heartbeat{Number: number},
			}})
			synctest.Wait()
		}
		for number := range uint64(3) {
			beat(number + 1)
		}
		time.Sleep(testLease / 4)
		synctest.Wait()
		if len(w.gotten) > 0 {
			t.Errorf("an idle worker is answered %v", <-w.gotten)
		}
		log.create("study", 4)
		synctest.Wait()
		for _, want := range []uint64{3, 4} {
			if renewal := (<-w.gotten).GetRenewal(); renewal.GetHeartbeat() != want {
				t.Errorf("got %v, want the renewal of heartbeat %d", renewal, want)
			}
			if want == 3 {
				w.assignment()
				beat(4)
			}
		}
	})
}

// A batch is recorded in its order. It may have nothing that is to be sent by itself.
func TestBatchesAreRecordedInOrder(t *testing.T) {
	leading(t, func(l *Leader, log *testLog) {
		log.create("study", 2)
		w := connect(log, l, hello("worker"))
		a := w.assignment()
		batch := func(requests ...*trellisv1.SessionRequest) *trellisv1.SessionRequest {
			return &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Batch{
				Batch: &trellisv1.SessionRequests{Requests: requests},
			}}
		}
		w.send(batch(reportsRequest(reportOf(a, 1)), reportsRequest(reportOf(a, 2)), &trellisv1.SessionRequest{
			Message: &trellisv1.SessionRequest_Outcome{Outcome: &trellisv1.Outcome{
				Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(), Result: &trellisv1.Outcome_Success_{
					Success: &trellisv1.Outcome_Success{
						StopReason: trellisv1.StopReason_STOP_REASON_MAX_EPOCHS, Epochs: 2,
					},
				},
			}},
		}))
		synctest.Wait()
		run, err := log.store.Snapshot().Run(nil, a.GetStudy(), a.GetRun())
		if err != nil || run.GetState() != trellisv1.RunState_RUN_STATE_SUCCEEDED {
			t.Errorf("the run is %v, %v", run, err)
		}
		w.send(batch(batch(reportsRequest(reportOf(a, 1)))))
		<-w.ended
		if status.Code(w.why) != codes.InvalidArgument {
			t.Errorf("a batch in a batch ends the session with %v", w.why)
		}
	})
}

// gatedLog is a log that takes commands once its gate is open.
type gatedLog struct {
	Log
	gate    chan struct{}
	waiting atomic.Int64
}

func (l *gatedLog) ProposePatiently(ctx context.Context, command *trellisv1.Command) (any, error) {
	l.waiting.Add(1)
	defer l.waiting.Add(-1)
	select {
	case <-l.gate:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return l.Log.ProposePatiently(ctx, command)
}

// When many workers come together, a few at a time are put into the log. The others wait, which is not their fault, and
// those that leave meanwhile are not put there at all.
func TestFewWorkersAreRegisteredAtATime(t *testing.T) {
	leading(t, func(l *Leader, log *testLog) {
		gated := &gatedLog{Log: log, gate: make(chan struct{})}
		l.host.log = gated
		const workers, left = 4 * maxRegistering, maxRegistering
		var sessions []*session
		ctx, leave := context.WithCancelCause(log.ctx)
		var all sync.WaitGroup
		register := func(ctx context.Context, name string, want error) {
			opened := l.sessions.open(log.ctx, name, func(error) {})
			sessions = append(sessions, opened)
			l.leases.heard(name)
			all.Go(func() {
				if err := l.host.register(ctx, opened, workerOf(hello(name), access.Principal{})); !errors.Is(err, want) {
					t.Errorf("register %s: got %v, want %v", name, err, want)
				}
			})
			synctest.Wait()
		}
		gone := errors.New("gone")
		for n := range workers {
			register(log.ctx, fmt.Sprint("stays-", n), nil)
		}
		for n := range left {
			register(ctx, fmt.Sprint("leaves-", n), gone)
		}
		if n := gated.waiting.Load(); n != maxRegistering {
			t.Errorf("%d workers are put into the log at a time, want %d", n, maxRegistering)
		}
		for _, opened := range sessions {
			if !opened.heldUp.Load() {
				t.Errorf("worker %s waits as if that were its fault", opened.worker)
			}
		}
		leave(gone)
		synctest.Wait()
		close(gated.gate)
		all.Wait()
		registered, err := log.store.Snapshot().Workers(nil)
		if err != nil || len(registered) != workers {
			t.Errorf("%d workers are registered, want %d: %v", len(registered), workers, err)
		}
		for _, opened := range sessions {
			if opened.heldUp.Load() {
				t.Errorf("worker %s still waits", opened.worker)
			}
			l.sessions.close(opened)
		}
	})
}
