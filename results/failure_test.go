package results

import (
	"bytes"
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
	ok(t, store.CreateStudy(1, at(1), &trellisv1.Study{Name: "s"}, []*trellisv1.Run{run}, trials))
	index := uint64(2)
	next := func() uint64 { index++; return index }
	lose := func(entries ...func(attempt uint64) *trellisv1.RecordCommand_Entry) *trellisv1.Run {
		worker := fmt.Sprintf("w%d", index)
		ok(t, store.SetWorker(next(), at(index), &trellisv1.Worker{
			Name: worker, State: lifecycle.WorkerReady,
			Slots: 1,
		}))
		attempt := grant1(t, store, next(), "s", "a", worker)
		for _, entry := range entries {
			record(t, store, next(), entry(attempt))
		}
		ok(t, store.SetWorker(next(), at(index), &trellisv1.Worker{Name: worker, State: lifecycle.WorkerLost}))
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

// TestFailuresBeyondTheLimit: an attempt at a run of a snapshot may fail, however many failures that count the run has.
func TestFailuresBeyondTheLimit(t *testing.T) {
	source := newStore(t)
	run, trials := testRun("a", 16, 0, 4)
	ok(t, source.CreateStudy(1, at(1), &trellisv1.Study{Name: "s"}, []*trellisv1.Run{run}, trials))
	ok(t, source.SetWorker(2, at(2), &trellisv1.Worker{Name: "w", State: lifecycle.WorkerReady, Slots: 1}))
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
