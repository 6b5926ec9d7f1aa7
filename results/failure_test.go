package results

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// TestFailuresAreForgotten: a run that gets on for ever on workers that are taken away does not grow for ever, and what
// still counts is never forgotten.
func TestFailuresAreForgotten(t *testing.T) {
	store := newStore(t)
	const epochs = 100
	run, trials := testRun("a", 16, 0, epochs)
	ok(t, store.CreateListed(1, at(1), &trellisv1.Study{Name: "s"}, []*trellisv1.Run{run}, trials))
	index := uint64(2)
	next := func() uint64 { index++; return index }
	lose := func(entries ...func(attempt uint64) *trellisv1.RecordCommand_Entry) *trellisv1.Run {
		worker := fmt.Sprintf("w%d", index)
		ok(t, store.SetWorker(next(), at(index), trajectory.LatestRules, &trellisv1.Worker{
			Name: worker, State: lifecycle.WorkerReady,
			Slots: 1,
		}))
		attempt := grant1(t, store, next(), "s", "a", worker)
		for _, entry := range entries {
			record(t, store, next(), entry(attempt))
		}
		ok(t, store.SetWorker(next(), at(index), trajectory.LatestRules,
			&trellisv1.Worker{Name: worker, State: lifecycle.WorkerLost}))
		got, err := store.Snapshot().Run(nil, "s", "a")
		ok(t, err)
		return got
	}
	lose(func(attempt uint64) *trellisv1.RecordCommand_Entry {
		return failureEntry("s", "a", attempt, trellisv1.FailureClass_FAILURE_CLASS_TRAINER, "once")
	})
	var got *trellisv1.Run
	for epoch := range uint32(epochs - 1) {
		got = lose(func(attempt uint64) *trellisv1.RecordCommand_Entry {
			return reportEntry("s", "a", attempt, epoch+1, 1, 1, nil)
		})
	}
	if got.State != lifecycle.RunPending || len(got.Failures) != trajectory.MaxFailures {
		t.Fatalf("after %d lost workers: %v", epochs-1, got)
	}
	if got.Failures[0].Message != "once" || got.Failures[trajectory.MaxFailures-1].RunEpochs != epochs-1 {
		t.Errorf("remembered are %v", got.Failures)
	}
	// Two more at the same epoch, and then a third.
	for i, want := range []trellisv1.RunState{lifecycle.RunPending, lifecycle.RunPending, lifecycle.RunFailed} {
		if got = lose(); got.State != want {
			t.Fatalf("after %d workers that were lost at once: %v", i+1, got)
		}
	}
}

// TestFailuresSayWhichEpoch: workers that are lost in the middle of what others have reported already are lost at the
// epoch that each had come to, not at the last that is recorded.
func TestFailuresSayWhichEpoch(t *testing.T) {
	store := newStore(t)
	run, trials := testRun("a", 16, 0, 10)
	ok(t, store.CreateListed(1, at(1), &trellisv1.Study{Name: "s"}, []*trellisv1.Run{run}, trials))
	index := uint64(1)
	next := func() uint64 { index++; return index }
	// lose gives the run to a worker, which reports epochs up to a last one, one by one, and is lost.
	lose := func(worker string, last uint32) *trellisv1.Run {
		ready := &trellisv1.Worker{Name: worker, State: lifecycle.WorkerReady, Slots: 1}
		ok(t, store.SetWorker(next(), at(index), trajectory.LatestRules, ready))
		attempt := grant1(t, store, next(), "s", "a", worker)
		for epoch := range last {
			record(t, store, next(), reportEntry("s", "a", attempt, epoch+1, 1, 1, nil))
		}
		ok(t, store.SetWorker(next(), at(index), trajectory.LatestRules,
			&trellisv1.Worker{Name: worker, State: lifecycle.WorkerLost}))
		got, err := store.Snapshot().Run(nil, "s", "a")
		ok(t, err)
		return got
	}
	lose("u", 5)
	for n, last := range []uint32{2, 3, 0} {
		got := lose(fmt.Sprint("w", n), last)
		failure := got.Failures[len(got.Failures)-1]
		if got.State != lifecycle.RunPending || failure.Epochs != last || failure.RunEpochs != 5 {
			t.Errorf("worker %d was lost after it had sent %d epochs again: %v", n, last, got)
		}
	}
	// Three at the same epoch are no accident.
	lose("x", 2)
	if got := lose("y", 2); got.State != lifecycle.RunFailed {
		t.Errorf("three workers were lost at the same epoch: %v", got)
	}
}

// TestFailuresBeyondTheLimit: an attempt at a run of a snapshot may fail, however many failures that count the run has.
func TestFailuresBeyondTheLimit(t *testing.T) {
	source := newStore(t)
	run, trials := testRun("a", 16, 0, 4)
	ok(t, source.CreateListed(1, at(1), &trellisv1.Study{Name: "s"}, []*trellisv1.Run{run}, trials))
	ok(t, source.SetWorker(2, at(2), trajectory.LatestRules,
		&trellisv1.Worker{Name: "w", State: lifecycle.WorkerReady, Slots: 1}))
	attempt := grant1(t, source, 3, "s", "a", "w")
	// Nobody changes a stored row but this test.
	stored, err := source.Snapshot().Run(nil, "s", "a")
	ok(t, err)
	for n := range uint64(trajectory.MaxFailures + 1) {
		stored.Failures = append(stored.Failures, &trellisv1.Failure{
			Attempt: n, Worker: "w",
			Class: trellisv1.FailureClass_FAILURE_CLASS_WORKER_LOST,
		})
	}
	var data bytes.Buffer
	_, err = source.Snapshot().WriteTo(&data)
	ok(t, err)
	store := newStore(t)
	ok(t, store.Restore(&data))
	record(t, store, 4, failureEntry("s", "a", attempt, trellisv1.FailureClass_FAILURE_CLASS_TRAINER, "again"))
	got, err := store.Snapshot().Run(nil, "s", "a")
	ok(t, err)
	if last := got.Failures[len(got.Failures)-1]; last.Message != "again" {
		t.Errorf("the last failure is %v", last)
	}
}

// A program that hands its run back each time without a new epoch fails it; one that makes progress never does.
func TestRunsThatAreHandedBack(t *testing.T) {
	const returned = trellisv1.FailureClass_FAILURE_CLASS_RETURNED
	store := newStore(t)
	run, trials := testRun("a", 16, 0, 100)
	ok(t, store.CreateListed(1, at(1), &trellisv1.Study{Name: "s"}, []*trellisv1.Run{run}, trials))
	ok(t, store.SetWorker(2, at(2), trajectory.LatestRules,
		&trellisv1.Worker{Name: "w", State: lifecycle.WorkerReady, Slots: 1}))
	index := uint64(2)
	next := func() uint64 { index++; return index }
	attempt := grant1(t, store, next(), "s", "a", "w")
	entry := failureEntry("s", "a", attempt, returned, "exit code 75")
	if err := store.Record(next(), at(index), trajectory.CountAudits, []*trellisv1.RecordCommand_Entry{entry})[0]; !errors.Is(
		err, ErrInvalid) {
		t.Errorf("by rules that don't know it: %v", err)
	}
	handBack := func() *trellisv1.Run {
		record(t, store, next(), failureEntry("s", "a", attempt, returned, "exit code 75"))
		got, err := store.Snapshot().Run(nil, "s", "a")
		ok(t, err)
		return got
	}
	for epoch := range uint32(2 * trajectory.ReturnedBudget) {
		record(t, store, next(), reportEntry("s", "a", attempt, epoch+1, 1, 1, nil))
		if got := handBack(); got.State != lifecycle.RunPending {
			t.Fatalf("after epoch %d: %v", epoch+1, got)
		}
		attempt = grant1(t, store, next(), "s", "a", "w")
	}
	for n := 2; ; n++ {
		got := handBack()
		if n < trajectory.ReturnedBudget && got.State == lifecycle.RunPending {
			attempt = grant1(t, store, next(), "s", "a", "w")
			continue
		}
		const want = "the program handed its run back in 5 attempts without a new epoch, the last on worker w: exit code 75"
		if n != trajectory.ReturnedBudget || got.State != lifecycle.RunFailed || got.Error != want {
			t.Errorf("after %d attempts: %v", n, got)
		}
		return
	}
}
