package coordinator

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

func TestAStudyIsTrainedLongestRunsFirstAndAnswered(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		spec := syntheticSpec("life", []uint32{4, 8}, []uint32{2, 3})
		spec.Grid = append(spec.Grid, syntheticSpec("", []uint32{16}, []uint32{5}).Grid...)
		created := h.create(spec)
		if got := created.GetProgress(); got.GetTrials() != 5 || got.GetRuns() != 3 || got.GetEpochsLeft() != 11 {
			t.Fatalf("created with progress %v, want 5 trials, 3 runs, 11 epochs left", got)
		}
		w := h.connect("w", 1)
		var order []uint32
		began := time.Now()
		for range 3 {
			a := w.assignment()
			order = append(order, uint32(a.GetConfig().GetParameters().Numeric("latent_dim")))
			w.train(a)
		}
		if waited := time.Since(began); waited > 0 {
			t.Errorf("a freed slot waited: three runs that take no time took %v", waited)
		}
		if want := []uint32{16, 4, 8}; !slices.Equal(order, want) {
			t.Errorf("latent dimensions in the order of their training: %v, want %v", order, want)
		}
		study := h.study("life")
		if study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED ||
			study.GetProgress().GetTrialsSucceeded() != 5 {
			t.Errorf("the study ended as %v", study)
		}
		best, err := h.trials.GetBestTrial(h.Context(), &trellisv1.GetBestTrialRequest{Study: "life"})
		if err != nil {
			t.Fatal(err)
		}
		if p := best.GetTrial().GetParameters(); p.Numeric("latent_dim") != 4 || p.GetMaxEpochs() != 3 {
			t.Errorf("best trial is %v, want latent dimension 4 and 3 epochs", best.GetTrial())
		}
		if losses := best.GetTrial().GetValidationLoss(); len(losses) != 3 {
			t.Errorf("best trial has %d losses, want 3", len(losses))
		}
	})
}

func TestSlotsAreFilledAndNeverOverfilled(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("slots", []uint32{1, 2, 3, 4, 5, 6, 7}, []uint32{1}))
		two, four := h.connect("two", 2), h.connect("four", 4)
		synctest.Wait()
		if a, b := h.worker("two").GetRuns(), h.worker("four").GetRuns(); a != 2 || b != 4 {
			t.Fatalf("workers of 2 and 4 slots hold %d and %d runs", a, b)
		}
		first := two.assignment()
		two.assignment()
		two.train(first)
		two.assignment()
		if left := h.study("slots").GetProgress(); left.GetRunsRunning() != 6 || left.GetRunsSucceeded() != 1 {
			t.Errorf("progress is %v, want 6 running and 1 succeeded", left)
		}
		_ = four
	})
}

func TestASilentWorkerLosesItsRunToAnother(t *testing.T) {
	serve(t, Config{Lease: 10 * time.Second}, func(h *harness) {
		h.create(syntheticSpec("silent", []uint32{4}, []uint32{3}))
		dead := h.connect("dead", 1)
		lost := dead.assignment()
		dead.report(lost, 1)
		dead.acknowledged(lost.GetAttempt(), 1, false)
		dead.silence()
		began := time.Now()
		heir := h.connect("heir", 1)
		a := heir.assignment()
		if waited := time.Since(began); waited < 10*time.Second || waited > 15*time.Second {
			t.Errorf("the run went to another worker after %v, want a lease of 10s and a little", waited)
		}
		if a.GetRun() != lost.GetRun() || a.GetAttempt() <= lost.GetAttempt() {
			t.Errorf("run %s, attempt %d was followed by run %s, attempt %d", lost.GetRun(), lost.GetAttempt(),
				a.GetRun(), a.GetAttempt())
		}
		if state := h.worker("dead").GetState(); state != trellisv1.WorkerState_WORKER_STATE_LOST {
			t.Errorf("the silent worker is %v", state)
		}
		if _, err := dead.stream.Recv(); err != nil && status.Code(err) != codes.Aborted {
			t.Errorf("the silent worker's session ended with %v", err)
		}

		// It comes back, and is told that its attempt no longer stands; what it sends of it changes nothing.
		back := h.connect("dead", 1, lost.GetAttempt())
		if standing := back.welcome.GetAttempts(); len(standing) != 0 {
			t.Errorf("welcomed with attempts %v, want none", standing)
		}
		back.reportLoss(lost, 2, 1e-9)
		back.succeed(lost, 2)
		back.acknowledged(lost.GetAttempt(), 0, true)
		heir.train(a)
		study := h.study("silent")
		if p := study.GetProgress(); p.GetTrialsSucceeded() != 1 || p.GetEpochs() != 3 {
			t.Errorf("progress is %v, want one trial succeeded with 3 epochs", p)
		}
		best, err := h.trials.GetBestTrial(h.Context(), &trellisv1.GetBestTrialRequest{Study: "silent"})
		if err != nil {
			t.Fatal(err)
		}
		if want := lossAt(a.GetConfig().GetParameters(), 3); best.GetTrial().GetObjective() != want {
			t.Errorf("objective %v, want %v: a stale report was counted", best.GetTrial().GetObjective(), want)
		}
	})
}

func TestALostStreamLosesNothing(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("stream", []uint32{4, 8}, []uint32{3}))
		first := h.connect("w", 2)
		kept, unheard := first.assignment(), first.assignment()
		first.report(kept, 1)
		first.acknowledged(kept.GetAttempt(), 1, false)

		// The worker comes back before its old session has ended, and has not heard of one of its assignments.
		second := h.connect("w", 2, kept.GetAttempt())
		if standing := second.welcome.GetAttempts(); len(standing) != 1 || standing[0] != kept.GetAttempt() {
			t.Errorf("welcomed with attempts %v, want %d alone", standing, kept.GetAttempt())
		}
		if _, err := first.stream.Recv(); status.Code(err) != codes.Aborted {
			t.Errorf("the older session ended with %v, want Aborted", err)
		}
		again := second.assignment()
		if again.GetAttempt() != unheard.GetAttempt() || again.GetRun() != unheard.GetRun() {
			t.Errorf("assigned %v, want once more %v", again, unheard)
		}
		// What was acknowledged may be sent again.
		second.report(kept, 1)
		second.report(kept, 2)
		second.report(kept, 3)
		second.succeed(kept, 3)
		second.acknowledged(kept.GetAttempt(), 3, true)
		second.train(again)
		if study := h.study("stream"); study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED ||
			study.GetProgress().GetEpochs() != 6 {
			t.Errorf("the study ended as %v with %v", study.GetState(), study.GetProgress())
		}
	})
}

func TestPauseResumeAndCancelReachTheWorkerAtOnce(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("pause", []uint32{4}, []uint32{5}))
		w := h.connect("w", 1)
		a := w.assignment()
		w.report(a, 1)
		w.acknowledged(a.GetAttempt(), 1, false)

		began := time.Now()
		if _, err := h.studies.PauseStudy(h.Context(), &trellisv1.PauseStudyRequest{Study: "pause"}); err != nil {
			t.Fatal(err)
		}
		if stop := w.next().GetStop(); stop.GetAttempt() != a.GetAttempt() {
			t.Fatalf("after the pause the worker was sent %v, want to stop attempt %d", stop, a.GetAttempt())
		}
		if _, err := h.studies.ResumeStudy(h.Context(), &trellisv1.ResumeStudyRequest{Study: "pause"}); err != nil {
			t.Fatal(err)
		}
		b := w.assignment()
		if b.GetAttempt() == a.GetAttempt() || b.GetRun() != a.GetRun() {
			t.Errorf("resumed with %v", b)
		}
		if _, err := h.studies.CancelStudy(h.Context(), &trellisv1.CancelStudyRequest{Study: "pause"}); err != nil {
			t.Fatal(err)
		}
		if stop := w.next().GetStop(); stop.GetAttempt() != b.GetAttempt() {
			t.Fatalf("after the cancel the worker was sent %v, want to stop attempt %d", stop, b.GetAttempt())
		}
		if waited := time.Since(began); waited > time.Second {
			t.Errorf("pause, resume and cancel took %v", waited)
		}
		if study := h.study("pause"); study.GetState() != trellisv1.StudyState_STUDY_STATE_CANCELED {
			t.Errorf("the study is %v", study.GetState())
		}
		_, err := h.studies.ResumeStudy(h.Context(), &trellisv1.ResumeStudyRequest{Study: "pause"})
		if status.Code(err) != codes.FailedPrecondition {
			t.Errorf("resuming a canceled study: %v, want FailedPrecondition", err)
		}
	})
}

func TestADrainingWorkerGivesItsRunBackForFree(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("drain", []uint32{4}, []uint32{5}))
		w := h.connect("w", 1)
		a := w.assignment()
		w.send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Drain{Drain: &trellisv1.Drain{}}})
		w.outcome(&trellisv1.Outcome{
			Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(),
			Result: &trellisv1.Outcome_Return_{Return: &trellisv1.Outcome_Return{}},
		})
		w.acknowledged(a.GetAttempt(), 0, true)
		if row := h.worker("w"); row.GetState() != trellisv1.WorkerState_WORKER_STATE_DRAINING || row.GetRuns() != 0 {
			t.Errorf("the worker is %v", row)
		}
		w.send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Goodbye{Goodbye: &trellisv1.Goodbye{}}})
		if _, err := w.stream.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("after goodbye the session ended with %v, want EOF", err)
		}
		if row := h.worker("w"); row.GetState() != trellisv1.WorkerState_WORKER_STATE_GONE {
			t.Errorf("after goodbye the worker is %v", row.GetState())
		}
		heir := h.connect("heir", 1)
		if b := heir.assignment(); b.GetRun() != a.GetRun() {
			t.Errorf("the heir was assigned %v", b)
		}
		run, err := h.store.Snapshot().Run(nil, "drain", a.GetRun())
		if err != nil {
			t.Fatal(err)
		}
		if len(run.GetFailures()) != 0 {
			t.Errorf("handing a run back cost it %v", run.GetFailures())
		}
	})
}

func TestAFailingRunIsTriedAgainAndThenListedAsFailed(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("fail", []uint32{4, 8}, []uint32{1, 2}))
		w := h.connect("w", 1)
		failures := 0
		for range 3 + 1 {
			a := w.assignment()
			if a.GetConfig().GetParameters().Numeric("latent_dim") == 8 {
				w.train(a)
				continue
			}
			failures++
			w.outcome(&trellisv1.Outcome{
				Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(),
				Result: &trellisv1.Outcome_Failure{
					Failure: &trellisv1.Failure{
						Class:   trellisv1.FailureClass_FAILURE_CLASS_TRAINER,
						Message: "the weights caught fire",
					},
				},
			})
			w.acknowledged(a.GetAttempt(), 0, true)
		}
		study := h.study("fail")
		if p := study.GetProgress(); study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED ||
			p.GetTrialsFailed() != 2 || p.GetTrialsSucceeded() != 2 {
			t.Fatalf("after %d failures the study is %v with %v", failures, study.GetState(), p)
		}
		listed, err := h.trials.ListTrials(h.Context(),
			&trellisv1.ListTrialsRequest{Study: "fail", Filter: `state == "failed"`})
		if err != nil {
			t.Fatal(err)
		}
		if len(listed.GetTrials()) != 2 ||
			!strings.Contains(listed.GetTrials()[0].GetError(), "the weights caught fire") {
			t.Errorf("failed trials are listed as %v", listed.GetTrials())
		}
	})
}

func TestARunThatStandsStillIsEnded(t *testing.T) {
	serve(t, Config{HangTimeout: time.Minute}, func(h *harness) {
		h.create(syntheticSpec("hang", []uint32{4}, []uint32{2}))
		w := h.connect("w", 1)
		a := w.assignment()
		began := time.Now()
		if stop := w.next().GetStop(); stop.GetAttempt() != a.GetAttempt() {
			t.Fatalf("a worker whose run stands still was sent %v", stop)
		}
		if waited := time.Since(began); waited < time.Minute || waited > 70*time.Second {
			t.Errorf("the run was ended after %v, want a minute", waited)
		}
		b := w.assignment()
		run, err := h.store.Snapshot().Run(nil, "hang", b.GetRun())
		if err != nil {
			t.Fatal(err)
		}
		if f := run.GetFailures(); len(f) != 1 || f[0].GetClass() != trellisv1.FailureClass_FAILURE_CLASS_HUNG {
			t.Errorf("the run's failures are %v", f)
		}
	})
}

func TestAMovingRunIsNotHung(t *testing.T) {
	serve(t, Config{HangTimeout: time.Minute}, func(h *harness) {
		h.create(syntheticSpec("slow", []uint32{4}, []uint32{2}))
		w := h.connect("w", 1)
		a := w.assignment()
		for step := uint64(1); step <= 20; step++ {
			<-time.After(50 * time.Second) // The clock is synctest's.
			w.send(&trellisv1.SessionRequest{
				Message: &trellisv1.SessionRequest_Heartbeat{Heartbeat: &trellisv1.Heartbeat{
					Attempts: []*trellisv1.AttemptProgress{{Attempt: a.GetAttempt(), Steps: step}},
				}},
			})
		}
		w.train(a)
		if p := h.study("slow").GetProgress(); p.GetTrialsSucceeded() != 1 {
			t.Errorf("progress is %v", p)
		}
	})
}

func TestDifferentLossesForOneEpochAreAConflict(t *testing.T) {
	serve(t, Config{Lease: time.Second}, func(h *harness) {
		h.create(syntheticSpec("conflict", []uint32{4}, []uint32{3}))
		first := h.connect("first", 1)
		a := first.assignment()
		first.report(a, 1)
		first.acknowledged(a.GetAttempt(), 1, false)
		first.silence()
		second := h.connect("second", 1)
		b := second.assignment()
		second.reportLoss(b, 1, 42)
		for {
			if second.next().GetStop().GetAttempt() == b.GetAttempt() {
				break
			}
		}
		trials, err := h.trials.ListTrials(h.Context(), &trellisv1.ListTrialsRequest{Study: "conflict"})
		if err != nil {
			t.Fatal(err)
		}
		// It is trained again.
		if got := trials.GetTrials()[0]; got.GetState() != trellisv1.TrialState_TRIAL_STATE_PENDING {
			t.Errorf("after a conflict the trial is %v", got)
		}
		if progress := h.study("conflict").GetProgress(); progress.GetRunsDisputed() != 1 {
			t.Errorf("after a conflict: %v", progress)
		}
	})
}

func TestWorkersOfOtherVersionsAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		hello *trellisv1.Hello
		says  string
	}{
		"protocol": {&trellisv1.Hello{Protocol: 99, Numerics: testNumerics, Worker: "w", Slots: 1}, "protocol"},
		"numerics": {
			&trellisv1.Hello{Protocol: trellisv1.SessionProtocol, Numerics: "other", Worker: "w", Slots: 1, Key: keyOf("w")},
			"numerics",
		},
	} {
		t.Run(name, func(t *testing.T) {
			serve(t, Config{}, func(h *harness) {
				_, err := h.hello(test.hello)
				if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), test.says) {
					t.Errorf("refused with %v, want FailedPrecondition about %s", err, test.says)
				}
			})
		})
	}
}

func TestAWorkerWithoutSlotsIsInvalid(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		_, err := h.hello(&trellisv1.Hello{Protocol: trellisv1.SessionProtocol, Numerics: testNumerics, Worker: "w"})
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "slots") {
			t.Errorf("refused with %v, want InvalidArgument about slots", err)
		}
	})
}

func TestWhatAnotherWorkerHoldsCanNotBeReported(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("thief", []uint32{4}, []uint32{3}))
		owner := h.connect("owner", 1)
		a := owner.assignment()
		thief := h.connect("thief", 1)
		thief.reportLoss(a, 1, 1e-9)
		thief.acknowledged(a.GetAttempt(), 1, false)
		owner.train(a)
		best, err := h.trials.GetBestTrial(h.Context(), &trellisv1.GetBestTrialRequest{Study: "thief"})
		if err != nil {
			t.Fatal(err)
		}
		if want := lossAt(a.GetConfig().GetParameters(), 3); best.GetTrial().GetObjective() != want {
			t.Errorf("objective %v, want %v", best.GetTrial().GetObjective(), want)
		}
	})
}

func TestWhenMostWorkersFallSilentTheCoordinatorWaitsForOneMoreLease(t *testing.T) {
	serve(t, Config{Lease: 10 * time.Second}, func(h *harness) {
		a, b, c := h.connect("a", 1), h.connect("b", 1), h.connect("c", 1)
		h.create(syntheticSpec("held", []uint32{4, 8, 16}, []uint32{3}))
		for _, w := range []*fakeWorker{a, b, c} {
			w.assignment()
		}
		a.silence()
		b.silence()
		<-time.After(17 * time.Second) // The clock is synctest's.
		if state := h.worker("a").GetState(); state != trellisv1.WorkerState_WORKER_STATE_READY {
			t.Errorf("after 17s worker a is %v, want READY: the coordinator suspects itself first", state)
		}
		<-time.After(10 * time.Second)
		if state := h.worker("a").GetState(); state != trellisv1.WorkerState_WORKER_STATE_LOST {
			t.Errorf("after 27s worker a is %v, want LOST", state)
		}
		if state := h.worker("c").GetState(); state != trellisv1.WorkerState_WORKER_STATE_READY {
			t.Errorf("worker c, which is well, is %v", state)
		}
	})
}

func TestStoppingTheCoordinatorEndsSessionsAndWatches(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("stop", []uint32{4}, []uint32{3}))
		w := h.connect("w", 1)
		w.assignment()
		watch, err := h.studies.WatchStudy(h.Context(), &trellisv1.WatchStudyRequest{Study: "stop"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := watch.Recv(); err != nil {
			t.Fatal(err)
		}
		stopped := make(chan struct{})
		go func() { defer close(stopped); h.stop() }()
		if _, err := w.stream.Recv(); status.Code(err) != codes.Unavailable {
			t.Errorf("the session ended with %v, want Unavailable", err)
		}
		for err == nil {
			_, err = watch.Recv()
		}
		if status.Code(err) != codes.Unavailable {
			t.Errorf("the watch ended with %v, want Unavailable", err)
		}
		<-stopped
	})
}
