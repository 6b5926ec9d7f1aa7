package results

import (
	"bytes"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// sharingStudy creates a study of runs with one milestone each or more, by their ids.
func sharingStudy(t testing.TB, store *Store, index uint64, name string, fresh bool, milestones map[string][]uint32) {
	t.Helper()
	var runs []*trellisv1.Run
	var trials []*trellisv1.Trial
	for _, id := range slices.Sorted(maps.Keys(milestones)) {
		run, its := testRun(id, 16, uint64(len(trials)), milestones[id]...)
		runs, trials = append(runs, run), append(trials, its...)
	}
	ok(t, store.CreateListed(index, at(index), &trellisv1.Study{Name: name, Fresh: fresh}, runs, trials))
}

// newSharingStore has a worker with many slots.
func newSharingStore(t testing.TB) *Store {
	t.Helper()
	store := newStore(t)
	ok(t, store.SetWorker(1, at(1), trajectory.LatestRules,
		&trellisv1.Worker{Name: "w", State: lifecycle.WorkerReady, Slots: 100}))
	return store
}

func lossesOf(t testing.TB, store *Store, study string) (train, validation []float64) {
	t.Helper()
	losses, err := store.Snapshot().Losses(nil, study, "a")
	ok(t, err)
	return losses.TrainLoss, losses.ValidationLoss
}

// TestSharedLossesGrowApart: arrays of losses are shared, but not the room behind them. Two runs that go on from the
// same losses, one of them on a faulty machine, must not overwrite each other's.
func TestSharedLossesGrowApart(t *testing.T) {
	store := newSharingStore(t)
	sharingStudy(t, store, 2, "f", true, map[string][]uint32{"a": {9}})
	f := grant1(t, store, 3, "f", "a", "w")
	// Room is left behind three losses that came one by one.
	for epoch := uint32(1); epoch <= 3; epoch++ {
		record(t, store, 3+uint64(epoch), accuracyEntry("f", "a", f, epoch, []float64{0.5}, []float64{0.5}, nil))
	}
	sharingStudy(t, store, 7, "s", false, map[string][]uint32{"a": {9}})
	train, validation := lossesOf(t, store, "f")
	if t1, v1 := lossesOf(t, store, "s"); len(t1) != 3 || &t1[0] != &train[0] || &v1[0] != &validation[0] {
		t.Fatalf("%v and %v are taken over from %v and %v, want the same arrays", t1, v1, train, validation)
	}
	s := grant1(t, store, 8, "s", "a", "w")
	record(t, store, 9, accuracyEntry("s", "a", s, 4, []float64{0.25}, []float64{0.25}, nil))
	record(t, store, 10, accuracyEntry("f", "a", f, 4, []float64{0.125}, []float64{0.125}, nil))
	for study, want := range map[string]float64{"s": 0.25, "f": 0.125} {
		losses, err := store.Snapshot().Losses(nil, study, "a")
		ok(t, err)
		if got := losses.Metrics["validation_accuracy"].Values; len(got) != 4 || got[3] != want {
			t.Errorf("study %s has the accuracies %v, want %v in epoch 4", study, got, want)
		}
	}
	if train, validation := lossesOf(t, store, "s"); train[3] != 0.25 || validation[3] != 0.25 {
		t.Errorf("the run that has taken over has %v and %v in epoch 4, want 0.25", train[3], validation[3])
	}
	if train, validation := lossesOf(t, store, "f"); train[3] != 0.125 || validation[3] != 0.125 {
		t.Errorf("the run that was taken over from has %v and %v in epoch 4, want 0.125", train[3], validation[3])
	}
}

// TestContradictingTwinsShareNothing: what a faulty machine has reported for one study does not mix with what another
// has.
func TestContradictingTwinsShareNothing(t *testing.T) {
	store := newSharingStore(t)
	sharingStudy(t, store, 2, "f", true, map[string][]uint32{"a": {3}})
	sharingStudy(t, store, 3, "s", false, map[string][]uint32{"a": {3}})
	f, s := grant1(t, store, 4, "f", "a", "w"), grant1(t, store, 5, "s", "a", "w")
	record(t, store, 6, reportEntry("s", "a", s, 1, 0.5, 0.5, nil), returnEntry("s", "a", s))
	record(t, store, 7, columnEntry("f", "a", f, 1, []float64{0.5, 0.5}, []float64{0.25, 0.25}, nil),
		checkpointEntry("f", "a", f, 1, digest("a")), successEntry("f", "a", f, 2))
	run, err := store.Snapshot().Run(nil, "s", "a")
	ok(t, err)
	if run.Epochs != 1 || run.State != lifecycle.RunPending || len(run.Checkpoints) != 0 || run.SharedFrom != "" {
		t.Errorf("%v has taken something over from a twin that contradicts it", run)
	}
}

// TestTakenCheckpoints are those that the run itself would have kept, from whichever twin has them.
func TestTakenCheckpoints(t *testing.T) {
	store := newSharingStore(t)
	index := uint64(2)
	for _, twin := range []struct {
		study  string
		epochs uint32
		digit  string
	}{{"two", 2, "a"}, {"three", 3, "b"}, {"five", 5, "c"}} {
		sharingStudy(t, store, index, twin.study, true, map[string][]uint32{"a": {twin.epochs}})
		attempt := grant1(t, store, index+1, twin.study, "a", "w")
		losses := slices.Repeat([]float64{0.5}, int(twin.epochs))
		record(t, store, index+2, columnEntry(twin.study, "a", attempt, 1, losses, losses, nil),
			checkpointEntry(twin.study, "a", attempt, twin.epochs, digest(twin.digit)))
		index += 3
	}
	for _, test := range []struct {
		milestones []uint32
		want       []uint32
	}{
		{[]uint32{9}, []uint32{5}},
		{[]uint32{2, 9}, []uint32{2, 5}},
		// It has ended at once, by what the longest twin knows.
		{[]uint32{4}, nil},
		{[]uint32{1}, nil},
		{[]uint32{2, 3, 5}, []uint32{2, 3, 5}},
	} {
		sharingStudy(t, store, index, "s", false, map[string][]uint32{"a": test.milestones})
		run, err := store.Snapshot().Run(nil, "s", "a")
		ok(t, err)
		var got []uint32
		for _, checkpoint := range run.Checkpoints {
			got = append(got, checkpoint.Epoch)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("a run with milestones %v has taken over checkpoints of %v, want %v", test.milestones, got,
				test.want)
		}
		ok(t, store.DeleteStudy(index+1, "s", 0, 0))
		index += 2
	}
}

// TestResubmittedStudy is done in the same command, whatever way its runs ended, and says what it did not have to
// train. A study that asks for fewer epochs is answered by what is known of them, one that asks for more has only those
// left.
func TestResubmittedStudy(t *testing.T) {
	early, diverged := trellisv1.StopReason_STOP_REASON_EARLY_STOPPING, trellisv1.StopReason_STOP_REASON_DIVERGED
	maximum := trellisv1.StopReason_STOP_REASON_MAX_EPOCHS
	store := newSharingStore(t)
	milestones := map[string][]uint32{"early": {2, 4}, "last": {2, 3}, "max": {4}, "nan": {1, 4}}
	sharingStudy(t, store, 2, "first", false, milestones)
	index := uint64(3)
	for _, run := range []struct {
		id     string
		losses []float64
		reason trellisv1.StopReason
	}{
		{"early", []float64{0.5, 0.25, 1}, early},
		{"last", []float64{0.5, 1, 1}, early},
		{"max", []float64{4, 3, 2, 1}, maximum},
		{"nan", []float64{1, math.NaN()}, diverged},
	} {
		attempt, epochs := grant1(t, store, index, "first", run.id, "w"), uint32(len(run.losses))
		success := successEntry("first", run.id, attempt, epochs)
		success.GetOutcome().GetSuccess().StopReason = run.reason
		tests := map[uint32]float64{}
		for epoch := range epochs {
			tests[epoch+1] = float64(epoch)
		}
		record(t, store, index+1, columnEntry("first", run.id, attempt, 1, run.losses, run.losses, tests), success)
		index += 2
	}
	sharingStudy(t, store, index, "again", false, milestones)
	first, err := store.Snapshot().Study(nil, "first")
	ok(t, err)
	again, err := store.Snapshot().Study(nil, "again")
	ok(t, err)
	p := again.Progress
	if again.State != lifecycle.StudyCompleted || p.TrainingSeconds != 0 || p.Epochs != 12 || p.EpochsShared != 12 ||
		p.SecondsShared != first.Progress.TrainingSeconds || p.EpochsAlone != first.Progress.EpochsAlone ||
		p.EpochsAlone != 2+3+2+3+4+1+2 {
		t.Errorf("a study that is submitted again is %v, %v; the first was %v", again.State, p, first.Progress)
	}
	want, err := store.Snapshot().ListTrials(&trellisv1.ListTrialsRequest{
		Study: "first", OrderBy: "objective",
		Losses: true,
	})
	ok(t, err)
	got, err := store.Snapshot().ListTrials(&trellisv1.ListTrialsRequest{
		Study: "again", OrderBy: "objective",
		Losses: true,
	})
	ok(t, err)
	if len(got.Trials) != len(want.Trials) {
		t.Fatalf("%d trials, want %d", len(got.Trials), len(want.Trials))
	}
	byPoint := map[string]*trellisv1.Trial{}
	for _, trial := range want.Trials {
		byPoint[trial.Run+trial.Parameters.String()] = trial
	}
	for _, trial := range got.Trials {
		same := trajectory.CopyTrial(byPoint[trial.Run+trial.Parameters.String()])
		same.Study, same.Index = trial.Study, trial.Index
		equal(t, "the trial of a study that is submitted again", trial, same)
	}
	sharingStudy(t, store, index+1, "other", false,
		map[string][]uint32{"early": {2}, "last": {9}, "max": {3, 6}, "nan": {1}})
	for id, want := range map[string]struct {
		state  trellisv1.RunState
		epochs uint32
		reason trellisv1.StopReason
	}{
		"early": {lifecycle.RunSucceeded, 2, maximum},
		"last":  {lifecycle.RunSucceeded, 3, early},
		"max":   {lifecycle.RunPending, 4, 0},
		"nan":   {lifecycle.RunSucceeded, 1, maximum},
	} {
		run, err := store.Snapshot().Run(nil, "other", id)
		ok(t, err)
		if run.State != want.state || run.Epochs != want.epochs || run.StopReason != want.reason {
			t.Errorf("run %s, want %+v, is %v", id, want, run)
		}
	}
}

// TestRelativesAreRestored: a store that is restored knows the same relatives as one whose studies have been created, by
// index or listed.
func TestRelativesAreRestored(t *testing.T) {
	store := newStore(t)
	want := map[string]string{"a": "a b d", "b": "a b c d", "c": "b c d", "d": "a b c d", "e": ""}
	for i, seeds := range [][]int{{1}, {1, 2}, {2}, {2, 1, 3}, {9}} {
		index := uint64(i + 1)
		study := indexedStudy(string(rune('a'+i)), 200, 2)
		study.Spec.Seeds = trellisv1.AxisOf(seeds...)
		if i%2 == 0 {
			ok(t, store.CreateStudy(index, at(index), study))
			continue
		}
		trials, runs, err := grid.Expand(study.Spec, nil, study.Numerics, nil)
		ok(t, err)
		ok(t, store.CreateListed(index, at(index), study, runs, trials))
	}
	restored := newStore(t)
	ok(t, restored.Restore(bytes.NewReader(written(t, store))))
	for of, snapshot := range map[string]*Snapshot{"created": store.Snapshot(), "restored": restored.Snapshot()} {
		for study, names := range want {
			its, err := snapshot.relativesOf(study)
			ok(t, err)
			var family []string
			if its != nil {
				for _, relative := range its.family {
					family = append(family, relative.study)
				}
			}
			if got := strings.Join(family, " "); got != names {
				t.Errorf("%s: study %s has the relatives %q, want %q", of, study, got, names)
			}
		}
	}
}
