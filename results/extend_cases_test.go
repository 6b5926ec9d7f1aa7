package results

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// studyOf creates a study "s" of the given runs, each with its milestones, and a worker.
func studyOf(t *testing.T, spec *trellisv1.StudySpec, runs map[string][]uint32) *Store {
	t.Helper()
	store := newStore(t)
	e := extension(0, runs)
	ok(t, store.CreateListed(2, at(2), &trellisv1.Study{Name: "s", Spec: spec}, e.Runs, e.Trials))
	ok(t, store.SetWorker(1, at(1), trajectory.LatestRules,
		&trellisv1.Worker{Name: "w", State: lifecycle.WorkerReady, Slots: 100}))
	return store
}

func getStudy(t *testing.T, store *Store) *trellisv1.Study {
	t.Helper()
	study, err := store.Snapshot().Study(nil, "s")
	ok(t, err)
	return study
}

// trialOf is the trial of a run that ends at an epoch.
func trialOf(t *testing.T, store *Store, run string, epochs uint32) *trellisv1.Trial {
	t.Helper()
	list, err := store.Snapshot().ListTrials(&trellisv1.ListTrialsRequest{Study: "s", PageSize: 1000})
	ok(t, err)
	for _, trial := range list.Trials {
		if trial.Run == run && trial.Parameters.MaxEpochs == epochs {
			return trial
		}
	}
	t.Fatalf("there is no trial of run %s that ends at %d", run, epochs)
	return nil
}

// trained makes a run that succeeds, by validation losses and test losses by epoch.
func trained(t *testing.T, store *Store, index uint64, run string, reason trellisv1.StopReason, validation []float64, test map[uint32]float64) {
	t.Helper()
	attempt := grant1(t, store, index, "s", run, "w")
	success := successEntry("s", run, attempt, uint32(len(validation)))
	success.GetOutcome().GetSuccess().StopReason = reason
	record(t, store, index+1, columnEntry("s", run, attempt, 1, validation, validation, test), success)
}

const (
	byMaximum  = trellisv1.StopReason_STOP_REASON_MAX_EPOCHS
	byStopping = trellisv1.StopReason_STOP_REASON_EARLY_STOPPING
)

// extend extends the study by so many trials.
func extend(t *testing.T, store *Store, index, trials uint64, extension Extension) {
	t.Helper()
	got, err := store.ExtendStudy(index, at(index), "s", extension)
	if err != nil || got != trials {
		t.Fatalf("%d trials were added and error %v, want %d", got, err, trials)
	}
}

// retryStudy takes up the one run that has failed.
func retryStudy(t *testing.T, store *Store, index uint64, pruned bool) {
	t.Helper()
	if runs, err := store.RetryStudy(index, at(index), trajectory.LatestRules, "s", pruned); err != nil || runs != 1 {
		t.Fatalf("%d runs were taken up and error %v, want one", runs, err)
	}
}

func TestExtendRefuses(t *testing.T) {
	runs := map[string][]uint32{"run-a": {2, 4}, "run-b": {3}}
	for name, test := range map[string]struct {
		spoil func(*Store, *Extension) error
		want  error
		text  string
	}{
		"a study that has changed": {
			func(_ *Store, e *Extension) error { e.Indices--; return nil }, ErrStudyChanged,
			"its next trial is now 3, not 2",
		},
		"a canceled study": {func(s *Store, _ *Extension) error {
			return s.SetStudyState(5, at(5), "s",
				lifecycle.StudyCanceled)
		}, ErrIllegalMove, `study "s" is canceled: only a completed, running or paused study can be extended or retried`},
		"a study that is not there": {
			func(s *Store, _ *Extension) error { return s.DeleteStudy(5, "s", 0, 0) }, ErrNotFound,
			`study "s" not found`,
		},
		"nothing": {func(_ *Store, e *Extension) error {
			*e = Extension{Indices: 3, NextIndices: 9, MaxTrials: 9}
			return nil
		}, ErrInvalid, "it adds nothing: the study already has all of these trials"},
		"what is there": {
			func(_ *Store, e *Extension) error { *e = extension(3, runs); return nil },
			ErrInvalid, "it adds nothing: the study already has all of these trials",
		},
		"a trial without a run": {
			func(_ *Store, e *Extension) error { e.Runs = e.Runs[:1]; return nil },
			ErrInvalid, "run run-c not found",
		},
		"a milestone without a trial": {
			func(_ *Store, e *Extension) error { e.Trials = e.Trials[1:]; return nil },
			ErrInvalid, "5 trials for runs with 6 milestones",
		},
		"a milestone of an old run without a trial": {func(_ *Store, e *Extension) error {
			e.Trials = e.Trials[:len(e.Trials)-1]
			return nil
		}, ErrInvalid, "5 trials for runs with 6 milestones"},
		"a trial twice": {func(_ *Store, e *Extension) error {
			again := proto.CloneOf(e.Trials[0])
			again.Index, e.NextIndices = 6, 7
			e.Trials = append(e.Trials, again)
			return nil
		}, ErrInvalid, "7 trials for runs with 6 milestones"},
		"an index twice": {func(_ *Store, e *Extension) error { e.Trials[2].Index = e.Trials[1].Index; return nil }, ErrInvalid, "trial 4: it occurs twice"},
		"an index that is old": {
			func(_ *Store, e *Extension) error { e.Trials[0].Index = 2; return nil }, ErrInvalid,
			"its index is not between 3 and 6",
		},
		"an index beyond": {
			func(_ *Store, e *Extension) error { e.NextIndices--; return nil }, ErrInvalid,
			"trial 5: it is new",
		},
		"too many trials": {
			func(_ *Store, e *Extension) error { e.MaxTrials = 5; return nil }, ErrInvalid,
			"it would have 6 trials, but at most 5 are allowed",
		},
		"an old run twice": {
			func(_ *Store, e *Extension) error { e.Runs = append(e.Runs, e.Runs[0]); return nil },
			ErrInvalid, "run run-a: it occurs twice",
		},
		"a new run twice": {
			func(_ *Store, e *Extension) error { e.Runs = append(e.Runs, e.Runs[1]); return nil },
			ErrInvalid, "run run-c: it occurs twice",
		},
		"other parameters": {
			func(_ *Store, e *Extension) error { e.Trials[0].Parameters.Seed++; return nil },
			ErrInvalid, "its parameters are not those of run run-a",
		},
		"a run that ends later": {
			func(_ *Store, e *Extension) error { e.Runs[1].Parameters.MaxEpochs++; return nil },
			ErrInvalid, "must end at the run's 9 epochs",
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := studyOf(t, nil, runs)
			e := extension(3, map[string][]uint32{"run-a": {3}, "run-c": {5, 8}})
			ok(t, test.spoil(store, &e))
			before := mustHash(t, store.Snapshot())
			_, err := store.ExtendStudy(9, at(9), "s", e)
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %v, want %v with %q", err, test.want, test.text)
			}
			if mustHash(t, store.Snapshot()) != before {
				t.Error("something of it was stored")
			}
		})
	}
}

// TestExtendAfterTheEnd: what is known is answered, what is too short goes on, what has ended by itself does not.
func TestExtendAfterTheEnd(t *testing.T) {
	spec := &trellisv1.StudySpec{Name: "s", Seeds: trellisv1.AxisOf(1)}
	store := studyOf(t, spec, map[string][]uint32{"run-a": {4}, "run-b": {4}})
	// The best epoch of the first is the third from there on; the second stops in the third.
	trained(t, store, 10, "run-a", byMaximum, []float64{4, 3, 1, 2}, map[uint32]float64{4: 0.5})
	trained(t, store, 20, "run-b", byStopping, []float64{4, 3, 5}, map[uint32]float64{3: 0.75})
	if study := getStudy(t, store); study.State != lifecycle.StudyCompleted {
		t.Fatalf("the study is %v", study.State)
	}
	e := extension(2, map[string][]uint32{"run-a": {2, 3, 6}, "run-b": {1, 2, 6}, "run-c": {6}, "run-d": {8}})
	e.Spec = &trellisv1.StudySpec{Name: "s", Seeds: trellisv1.AxisOf(2)}
	e.NextIndices = 30
	extend(t, store, 30, 8, e)
	scribble(e.Spec)

	study := getStudy(t, store)
	if study.State != lifecycle.StudyRunning || study.EndTime != nil || study.Indices != 30 ||
		study.Spec.Seeds.GetValues()[0].GetInteger() != 2 ||
		len(study.EarlierSpecs) != 1 || !proto.Equal(study.EarlierSpecs[0], spec) {
		t.Errorf("the study is %v", study)
	}
	want := &trellisv1.Progress{
		Trials: 10, TrialsSucceeded: 7, Runs: 4, RunsSucceeded: 1, Epochs: 7, EpochsLeft: 2 + 6 + 8, TrainingSeconds: 3.5,
		EpochsAlone: (2 + 3 + 4) + (1 + 2 + 3 + 3),
	}
	equal(t, "progress", study.Progress, want)
	for _, answer := range []struct {
		run                   string
		maximum, epochs, best uint32
		objective, test       float64
	}{
		// The test loss after the third epoch is known: the fourth had the same best weights. That after the second is
		// not.
		{"run-a", 2, 2, 2, 3, 0},
		{"run-a", 3, 3, 3, 1, 0.5},
		{"run-a", 4, 4, 3, 1, 0.5},
		{"run-b", 1, 1, 1, 4, 0},
		{"run-b", 2, 2, 2, 3, 0.75},
		{"run-b", 4, 3, 2, 3, 0.75},
		{"run-b", 6, 3, 2, 3, 0.75},
	} {
		got := trialOf(t, store, answer.run, answer.maximum)
		if got.State != lifecycle.TrialSucceeded || got.Epochs != answer.epochs || got.BestEpoch != answer.best ||
			got.GetObjective() != answer.objective || got.GetTestLoss() != answer.test ||
			(got.TestLoss == nil) != (answer.test == 0) {
			t.Errorf("trial %v, want %+v", got, answer)
		}
	}
	// The places: those that were there, then the longest of the new ones.
	next, err := store.Snapshot().NextRuns(nil, 9)
	ok(t, err)
	var ids []string
	for _, run := range next {
		ids = append(ids, run.Id)
	}
	if fmt.Sprint(ids) != "[run-a run-d run-c]" {
		t.Errorf("next runs %v", ids)
	}
	longer := next[0]
	if longer.StopReason != 0 || longer.Epochs != 4 || longer.Parameters.MaxEpochs != 6 ||
		!slices.Equal(longer.Milestones, []uint32{2, 3, 4, 6}) {
		t.Errorf("the run that goes on: %v", longer)
	}
	best, err := store.Snapshot().Best(nil, "s")
	ok(t, err)
	if best.Run != "run-a" || best.Parameters.MaxEpochs != 3 {
		t.Errorf("the best is %v, want the shortest of the three of run-a with objective 1", best)
	}
	checkIndexes(t, store.Snapshot())
}

// TestExtendWhatHasNoAnswer: runs that FAILED stay so, and their new trials are answered as far as they have come.
func TestExtendWhatHasNoAnswer(t *testing.T) {
	store := studyOf(t, nil, map[string][]uint32{"run-a": {4}, "run-b": {9}})
	attempt := grant1(t, store, 10, "s", "run-a", "w")
	record(t, store, 11, columnEntry("s", "run-a", attempt, 1, []float64{1, 2}, []float64{1, 2}, nil),
		failureEntry("s", "run-a", attempt, trellisv1.FailureClass_FAILURE_CLASS_OUT_OF_MEMORY, "too much"))
	extend(t, store, 20, 3, extension(2, map[string][]uint32{"run-a": {2, 3, 8}}))
	for epochs, state := range map[uint32]trellisv1.TrialState{
		2: lifecycle.TrialSucceeded, 3: lifecycle.TrialFailed,
		4: lifecycle.TrialFailed, 8: lifecycle.TrialFailed,
	} {
		if got := trialOf(t, store, "run-a", epochs); got.State != state ||
			(got.Error == "") != (state == lifecycle.TrialSucceeded) {
			t.Errorf("trial %v, want %v", got, state)
		}
	}
	run, err := store.Snapshot().Run(nil, "s", "run-a")
	ok(t, err)
	if run.State != lifecycle.RunFailed || run.Parameters.MaxEpochs != 8 {
		t.Errorf("run %v", run)
	}
}

// TestExtendLeased: the attempt stays, ends where it was told to, and the run goes on from there.
func TestExtendLeased(t *testing.T) {
	store := studyOf(t, nil, map[string][]uint32{"run-a": {4}})
	attempt := grant1(t, store, 10, "s", "run-a", "w")
	record(t, store, 11, columnEntry("s", "run-a", attempt, 1, []float64{1, 2}, []float64{1, 2}, nil))
	extend(t, store, 12, 2, extension(1, map[string][]uint32{"run-a": {3, 8}}))
	if study := getStudy(t, store); study.Progress.RunsRunning != 1 || study.Progress.EpochsLeft != 6 {
		t.Fatalf("the study is %v", study)
	}
	success := successEntry("s", "run-a", attempt, 4)
	success.GetOutcome().GetSuccess().StopReason = byMaximum
	record(t, store, 13, columnEntry("s", "run-a", attempt, 3, []float64{1, 2}, []float64{0.5, 2},
		map[uint32]float64{4: 7}), success)
	run, err := store.Snapshot().Run(nil, "s", "run-a")
	ok(t, err)
	if study := getStudy(t, store); run.State != lifecycle.RunPending || run.Worker != "" || run.Epochs != 4 ||
		study.State != lifecycle.StudyRunning ||
		study.Progress.TrialsSucceeded != 2 {
		t.Fatalf("run %v of %v", run, study)
	}
	attempt = grant1(t, store, 14, "s", "run-a", "w")
	success = successEntry("s", "run-a", attempt, 8)
	success.GetOutcome().GetSuccess().StopReason = byMaximum
	record(t, store, 15, columnEntry("s", "run-a", attempt, 5, []float64{1, 2, 3, 4}, []float64{1, 2, 3, 4}, nil),
		success)
	if study := getStudy(t, store); study.State != lifecycle.StudyCompleted || study.Progress.TrialsSucceeded != 3 {
		t.Errorf("the study is %v", study)
	}
}

// TestSettling: a study that is to be settled is not COMPLETED before an extension says so, and every other one takes
// that back.
func TestSettling(t *testing.T) {
	spec := &trellisv1.StudySpec{Name: "s", Settle: &trellisv1.Settle{MaxSeeds: 3}}
	store := studyOf(t, spec, map[string][]uint32{"run-a": {1}})
	expect := func(state trellisv1.StudyState, settled bool) {
		t.Helper()
		if study := getStudy(t, store); study.State != state || study.Settled != settled ||
			len(study.EarlierSpecs) > 0 || study.Spec == nil {
			t.Fatalf("the study is %v, want %v and settled %v", study, state, settled)
		}
	}
	trained(t, store, 10, "run-a", byMaximum, []float64{1}, nil)
	expect(lifecycle.StudyRunning, false)
	extend(t, store, 12, 1, extension(1, map[string][]uint32{"run-b": {1}}))
	trained(t, store, 13, "run-b", byMaximum, []float64{1}, nil)
	expect(lifecycle.StudyRunning, false)
	settled := Extension{Indices: 2, NextIndices: 2, Settled: true}
	extend(t, store, 15, 0, settled)
	expect(lifecycle.StudyCompleted, true)
	if _, err := store.ExtendStudy(16, at(16), "s", settled); !errors.Is(err, ErrInvalid) {
		t.Errorf("settled again: %v", err)
	}
	extend(t, store, 17, 1, extension(2, map[string][]uint32{"run-c": {1}}))
	expect(lifecycle.StudyRunning, false)
	ok(t, store.SetStudyState(18, at(18), "s", lifecycle.StudyPaused))
	settled.Indices, settled.NextIndices = 3, 3
	extend(t, store, 19, 0, settled)
	expect(lifecycle.StudyPaused, true)
	ok(t, store.SetStudyState(20, at(20), "s", lifecycle.StudyRunning))
	trained(t, store, 21, "run-c", byMaximum, []float64{1}, nil)
	expect(lifecycle.StudyCompleted, true)
}

func TestRetry(t *testing.T) {
	store := studyOf(t, nil, map[string][]uint32{"run-a": {2}, "run-b": {2}})
	fail := func(index uint64) {
		t.Helper()
		attempt := grant1(t, store, index, "s", "run-a", "w")
		record(t, store, index+1, failureEntry("s", "run-a", attempt, trellisv1.FailureClass_FAILURE_CLASS_TRAINER,
			"no"))
	}
	refuse := func(index uint64, text string) {
		t.Helper()
		if _, err := store.RetryStudy(index, at(index), trajectory.LatestRules, "s", false); !errors.Is(err, ErrIllegalMove) ||
			!strings.Contains(err.Error(), text) {
			t.Errorf("error %v, want one with %q", err, text)
		}
	}
	refuse(3, "none of its runs have failed")
	trained(t, store, 4, "run-b", byMaximum, []float64{1, 1}, nil)
	for index := range uint64(trajectory.TrainerBudget) {
		fail(10 + 2*index)
	}
	if study := getStudy(t, store); study.State != lifecycle.StudyCompleted || study.Progress.TrialsFailed != 1 {
		t.Fatalf("the study is %v", study)
	}
	retryStudy(t, store, 20, false)
	run, err := store.Snapshot().Run(nil, "s", "run-a")
	ok(t, err)
	if study := getStudy(t, store); run.State != lifecycle.RunPending || run.Error != "" || len(run.Failures) > 0 ||
		run.Spared ||
		study.State != lifecycle.StudyRunning || study.EndTime != nil || study.Progress.RunsFailed > 0 {
		t.Fatalf("run %v of %v", run, study)
	}
	// The whole budget is there again.
	for index := range uint64(trajectory.TrainerBudget) {
		fail(30 + 2*index)
	}
	if study := getStudy(t, store); study.State != lifecycle.StudyCompleted {
		t.Errorf("the study is %v", study)
	}
	if _, err := store.RetryStudy(40, at(40), trajectory.LatestRules, "t", false); !errors.Is(err, ErrNotFound) {
		t.Errorf("a study that is not there: %v", err)
	}
	retryStudy(t, store, 41, true)
	ok(t, store.SetStudyState(42, at(42), "s", lifecycle.StudyCanceled))
	refuse(43, `study "s" is canceled: only a`)
}

// TestRetrySpares: a run that was pruned is not judged again after a retry, nor after a second one, by which it has
// failed.
func TestRetrySpares(t *testing.T) {
	p := newPool(t, &trellisv1.StudySpec{Name: "s", Pruning: ashaOf(2, 3)}, 2, flatCurves(8, .3, .2))
	p.train()
	p.log = nil
	spared := func() {
		t.Helper()
		if run, err := p.store.Snapshot().Run(nil, "s", "a"); err != nil || !run.Spared {
			t.Errorf("after a retry the run that was pruned is %v, %v", run, err)
		}
	}
	retryStudy(t, p.store, p.next(), true)
	spared()
	p.fails = func(*trellisv1.Run) bool { return true }
	p.train()
	retryStudy(t, p.store, p.next(), false)
	spared()
	p.fails = nil
	p.train()
	checkLog(t, p.log, `
a2 failed, b8 succeeded
a8 succeeded, b8 succeeded
`)
}
