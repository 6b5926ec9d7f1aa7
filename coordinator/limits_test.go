package coordinator

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/coordinator/replication"
	trellisv1 "trellis/proto/trellis/v1"
)

func TestNewStudiesNeedRoomOnTheDisk(t *testing.T) {
	simulate(t, func(c *cluster) {
		one := c.start("one:1", Config{MinFreeDisk: almostAll})
		c.await("one leads", func() bool { return one.leader.Leads() })
		_, err := one.studies.CreateStudy(one.Context(),
			&trellisv1.CreateStudyRequest{Spec: syntheticSpec("big", []uint32{4}, []uint32{2})})
		if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "make room") {
			t.Errorf("with a full disk: %v, want ResourceExhausted that says what to do", err)
		}
	})
}

func TestWhenTheLogHasNoRoomCallsAreRefusedAndWorkersWait(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("busy", []uint32{4}, []uint32{2}))
		var full atomic.Bool
		h.log.hook(func(l *hookedLog) {
			l.refusing = func(*trellisv1.Command) error {
				if full.Load() {
					return replication.ErrBusy
				}
				return nil
			}
		})
		w := h.connect("w", 1)
		a := w.assignment()
		full.Store(true)
		_, err := h.studies.PauseStudy(h.Context(), &trellisv1.PauseStudyRequest{Study: "busy"})
		if status.Code(err) != codes.ResourceExhausted {
			t.Errorf("a call when the log has no room: %v, want ResourceExhausted", err)
		}
		retry := false
		for _, detail := range status.Convert(err).Details() {
			info, ok := detail.(*errdetails.RetryInfo)
			retry = retry || ok && info.GetRetryDelay().AsDuration() > 0
		}
		if !retry {
			t.Errorf("the refusal does not say when to try again: %v", status.Convert(err).Details())
		}
		w.report(a, 1)
		<-time.After(2 * time.Second) // The clock is synctest's.
		full.Store(false)
		w.acknowledged(a.GetAttempt(), 1, false)
	})
}

func TestAWorkerOnWhichEverythingFailsIsAvoided(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		latent := make([]uint32, 100)
		for i := range latent {
			latent[i] = uint32(i + 1)
		}
		h.create(syntheticSpec("full-disk", latent, []uint32{1}))
		bad := h.connect("bad", 1)
		failures := atomic.Int32{}
		healed := make(chan struct{})
		go func() {
			for {
				message, err := bad.stream.Recv()
				if err != nil {
					return
				}
				a := message.GetAssignment()
				if a == nil {
					continue
				}
				failures.Add(1)
				select {
				case <-healed:
					bad.report(a, 1)
					bad.succeed(a, 1)
					continue
				default:
				}
				bad.outcome(&trellisv1.Outcome{
					Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(),
					Result: &trellisv1.Outcome_Failure{
						Failure: &trellisv1.Failure{
							Class:   trellisv1.FailureClass_FAILURE_CLASS_TRAINER,
							Message: "no space left on device",
						},
					},
				})
			}
		}()
		<-time.After(10 * time.Minute) // The clock is synctest's.
		// A run's budget is 3: the first is used up, then two others fail before the worker is avoided.
		if got := failures.Load(); got < 3 || got > 15 {
			t.Errorf("in ten minutes the worker was given %d runs", got)
		}
		if failed := h.study("full-disk").GetProgress().GetRunsFailed(); failed > 5 {
			t.Errorf("%d runs have failed for good", failed)
		}
		// Once it succeeds, it is as good as any. It is avoided for 5 minutes at most.
		close(healed)
		<-time.After(5*time.Minute + 2*dispatchInterval)
		if left := h.study("full-disk").GetProgress(); left.GetRunsSucceeded() < 90 {
			t.Errorf("a worker that is well again: %v", left)
		}
	})
}

func TestAWorkerThatComesBackUnchangedCostsNoEntry(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.connect("w", 2)
		var entries atomic.Int32
		h.log.hook(func(l *hookedLog) { l.proposing = func(*trellisv1.Command) { entries.Add(1) } })
		h.connect("w", 2)
		if got := entries.Load(); got != 0 {
			t.Errorf("a worker that came back unchanged made %d entries", got)
		}
		h.connect("w", 3)
		if slots := h.worker("w").GetSlots(); slots != 3 {
			t.Errorf("a worker that came back with 3 slots has %d", slots)
		}
	})
}

// Pages of trials that read the whole study wait for their turn, and pages that read few trials don't.
func TestFarPagesOfTrialsTakeTurns(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("s", []uint32{4}, []uint32{2}))
		reads := h.calls.reads
		for n := range reads.Running {
			release, err := reads.Take(h.Context(), fmt.Sprint("another ", n))
			if err != nil {
				t.Fatal(err)
			}
			defer release()
		}
		for _, of := range []struct {
			request *trellisv1.ListTrialsRequest
			want    codes.Code
		}{
			{&trellisv1.ListTrialsRequest{}, codes.OK},
			{&trellisv1.ListTrialsRequest{OrderBy: "index"}, codes.OK},
			{&trellisv1.ListTrialsRequest{OrderBy: "objective"}, codes.OK},
			{&trellisv1.ListTrialsRequest{Offset: 1}, codes.DeadlineExceeded},
			{&trellisv1.ListTrialsRequest{OrderBy: "objective", Offset: 1}, codes.DeadlineExceeded},
			{&trellisv1.ListTrialsRequest{OrderBy: "-objective"}, codes.DeadlineExceeded},
			{&trellisv1.ListTrialsRequest{Filter: "index > 0"}, codes.DeadlineExceeded},
		} {
			of.request.Study = "s"
			ctx, leave := context.WithTimeout(h.Context(), time.Second) // The clock is synctest's.
			_, err := h.trials.ListTrials(ctx, of.request)
			leave()
			if status.Code(err) != of.want {
				t.Errorf("while all turns are taken, %v: %v, want %v", of.request, err, of.want)
			}
		}
	})
}
