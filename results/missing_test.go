package results

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

func missingEntry(study, run string, attempt uint64, epoch uint32, reason string) *trellisv1.RecordCommand_Entry {
	entry := checkpointEntry(study, run, attempt, epoch, "")
	entry.GetCheckpoint().Missing = reason
	return entry
}

// Weights that could not be saved are remembered with the reason, at milestones and at the end, until they are saved.
func TestMissingWeights(t *testing.T) {
	store := newStore(t)
	run, trials := testRun("a", 16, 0, 2, 4, 9)
	ok(t, store.CreateListed(1, at(1), &trellisv1.Study{Name: "s"}, []*trellisv1.Run{run}, trials))
	ok(t, store.SetWorker(2, at(2), trajectory.LatestRules,
		&trellisv1.Worker{Name: "w", State: lifecycle.WorkerReady, Slots: 1}))
	attempt := grant1(t, store, 3, "s", "a", "w")
	record(t, store, 4, columnEntry("s", "a", attempt, 1, []float64{5, 4, 3, 2, 1}, []float64{5, 4, 3, 2, 1},
		map[uint32]float64{2: 1, 4: 1}))
	index := uint64(4)
	missing := func() string {
		t.Helper()
		got, err := store.Snapshot().Run(nil, "s", "a")
		ok(t, err)
		var text []string
		for _, m := range got.GetMissingWeights() {
			text = append(text, fmt.Sprintf("%d:%s", m.GetEpoch(), m.GetReason()))
		}
		return strings.Join(text, " ")
	}
	for _, step := range []struct {
		entry *trellisv1.RecordCommand_Entry
		want  string
	}{
		{missingEntry("s", "a", attempt, 2, "full"), "2:full"},
		{missingEntry("s", "a", attempt, 3, "late"), "2:full 3:late"},
		{missingEntry("s", "a", attempt, 4, "late"), "2:full 4:late"},
		{missingEntry("s", "a", attempt, 5, "late"), "2:full 4:late 5:late"},
		{missingEntry("s", "a", attempt, 2, "still full"), "2:still full 4:late 5:late"},
		// What is saved after all is not missing, and does not become so.
		{checkpointEntry("s", "a", attempt, 4, digest("d")), "2:still full 5:late"},
		{missingEntry("s", "a", attempt, 4, "late"), "2:still full 5:late"},
	} {
		index++
		record(t, store, index, step.entry)
		if got := missing(); got != step.want {
			t.Errorf("after entry %d: %s are missing, want %s", index, got, step.want)
		}
	}
	for _, wrong := range []*trellisv1.RecordCommand_Entry{
		missingEntry("s", "a", attempt, 0, "full"), missingEntry("s", "a", attempt, 6, "full"),
		missingEntry("s", "a", attempt, 10, "full"), missingEntry("s", "a", attempt+1, 2, "full"),
	} {
		index++
		entries := []*trellisv1.RecordCommand_Entry{wrong}
		if errs := store.Record(index, at(index), trajectory.LatestRules, entries); errs[0] == nil {
			t.Errorf("%v was recorded", wrong)
		}
	}
	snapshot := store.Snapshot()
	trial, err := snapshot.Trial("s", 0)
	ok(t, err)
	held, err := snapshot.Run(nil, "s", "a")
	ok(t, err)
	_, err = trajectory.BestWeights(nil, trial, held)
	if err == nil || err.Error() != "the weights of trial 0 could not be saved: still full: to train it "+
		"anew, submit the study under another name with --fresh" {
		t.Errorf("the weights of the first trial: %v", err)
	}
	// A twin in another study takes over what is known, this too.
	twin, trials := testRun("a", 16, 0, 2, 3, 4)
	index++
	ok(t, store.CreateListed(index, at(index), &trellisv1.Study{Name: "t"}, []*trellisv1.Run{twin}, trials))
	taken, err := store.Snapshot().Run(nil, "t", "a")
	ok(t, err)
	if m := taken.GetMissingWeights(); len(m) != 1 || m[0].GetEpoch() != 2 || m[0].GetReason() != "still full" {
		t.Errorf("the twin, of %d epochs, misses %v, want those of epoch 2", taken.GetEpochs(), m)
	}
	// They are written, and read again.
	restored := newStore(t)
	ok(t, restored.Restore(bytes.NewReader(written(t, store))))
	if mustHash(t, restored.Snapshot()) != mustHash(t, store.Snapshot()) {
		t.Error("the restored store has another hash")
	}
}

// What is wrong with a worker never fails a run, and what is wrong with the run fails it at once.
func TestWhoseFault(t *testing.T) {
	store := newStore(t)
	for i, name := range []string{"a", "b"} {
		run, trials := testRun(name, 16, 0, 2)
		ok(t, store.CreateListed(uint64(i+1), at(uint64(i+1)), &trellisv1.Study{Name: name}, []*trellisv1.Run{run}, trials))
	}
	ok(t, store.SetWorker(3, at(3), trajectory.LatestRules,
		&trellisv1.Worker{Name: "w", State: lifecycle.WorkerReady, Slots: 1}))
	index := uint64(3)
	fail := func(study string, class trellisv1.FailureClass) *trellisv1.Run {
		t.Helper()
		index++
		attempt := grant1(t, store, index, study, study, "w")
		index++
		record(t, store, index, failureEntry(study, study, attempt, class, "why"))
		got, err := store.Snapshot().Run(nil, study, study)
		ok(t, err)
		return got
	}
	for range 3 * trajectory.MaxFailures {
		got := fail("a", trellisv1.FailureClass_FAILURE_CLASS_WORKER)
		if got.State != lifecycle.RunPending || len(got.Failures) > trajectory.MaxFailures {
			t.Fatalf("after a failure of the worker: %v", got)
		}
	}
	got := fail("b", trellisv1.FailureClass_FAILURE_CLASS_INPUT)
	if want := "no worker can train it, on worker w: why"; got.State != lifecycle.RunFailed || got.Error != want {
		t.Errorf("after a failure of the input: %v, want %q", got, want)
	}
}
