package results

import (
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// accuracyEntry reports consecutive epochs with an accuracy each, and with test results of some.
func accuracyEntry(
	study, run string, attempt uint64, epoch uint32, losses, accuracy []float64, tests map[uint32]float64,
) *trellisv1.RecordCommand_Entry {
	entry := columnEntry(study, run, attempt, epoch, losses, losses, tests)
	reports := entry.GetReports()
	reports.Metrics = map[string]*trellisv1.Series{"validation_accuracy": {Values: accuracy}}
	reports.TestMetrics = map[uint32]*trellisv1.Metrics{}
	for epoch, loss := range tests {
		reports.TestMetrics[epoch] = &trellisv1.Metrics{Values: map[string]float64{"accuracy": 1 - loss}}
	}
	return entry
}

// TestMetricsOfTrials: a trial has the metrics of its best epoch, while it is open, when it is answered, and when it is
// answered late by an extension or by another study.
func TestMetricsOfTrials(t *testing.T) {
	store := newSharingStore(t)
	sharingStudy(t, store, 2, "s", false, map[string][]uint32{"a": {2, 4}})
	attempt := grant1(t, store, 3, "s", "a", "w")
	check := func(study string, index uint64, accuracy, testAccuracy float64) {
		t.Helper()
		trial, err := store.Snapshot().Trial(study, index)
		ok(t, err)
		if want := map[string]float64{"accuracy": accuracy}; !maps.Equal(trial.Metrics, want) {
			t.Errorf("study %s: trial %d has the metrics %v, want %v", study, index, trial.Metrics, want)
		}
		var want map[string]float64
		if testAccuracy != 0 {
			want = map[string]float64{"accuracy": testAccuracy}
		}
		if !maps.Equal(trial.TestMetrics, want) || (trial.TestLoss != nil) != (want != nil) {
			t.Errorf("study %s: trial %d has the test loss %v and metrics %v, want %v", study, index, trial.TestLoss,
				trial.TestMetrics, want)
		}
	}
	record(t, store, 4, accuracyEntry("s", "a", attempt, 1, []float64{0.5}, []float64{0.125}, nil))
	check("s", 0, 0.125, 0)
	record(t, store, 5, accuracyEntry("s", "a", attempt, 2, []float64{0.25}, []float64{0.25},
		map[uint32]float64{2: 0.25}))
	check("s", 0, 0.25, 0.75)
	check("s", 1, 0.25, 0)
	// Epoch 3 is no better, epoch 4 is.
	record(t, store, 6, accuracyEntry("s", "a", attempt, 3, []float64{3, 0.125}, []float64{0.75, 0.5},
		map[uint32]float64{4: 0.5}),
		stageEntry("s", "a", attempt, 4))
	check("s", 0, 0.25, 0.75)
	check("s", 1, 0.5, 0.5)

	run, trials := testRun("a", 16, 10, 1, 3)
	_, err := store.ExtendStudy(7, at(7), "s", Extension{
		Indices: 2, NextIndices: 20, Runs: []*trellisv1.Run{run},
		Trials: trials,
	})
	ok(t, err)
	check("s", 10, 0.125, 0)
	check("s", 11, 0.25, 0.75)

	sharingStudy(t, store, 8, "twin", false, map[string][]uint32{"a": {1, 3, 6}})
	check("twin", 0, 0.125, 0)
	check("twin", 1, 0.25, 0.75)
	check("twin", 2, 0.5, 0)
	attempt = grant1(t, store, 9, "twin", "a", "w")
	record(t, store, 10, accuracyEntry("twin", "a", attempt, 5, []float64{0, 0}, []float64{1, 2}, nil))
	check("twin", 2, 1, 0)
}

// TestMetricsByEpoch: where losses are asked for, metrics come by epoch too, as many as the trial has epochs.
func TestMetricsByEpoch(t *testing.T) {
	store := newSharingStore(t)
	sharingStudy(t, store, 2, "s", false, map[string][]uint32{"a": {2, 4}})
	attempt := grant1(t, store, 3, "s", "a", "w")
	record(t, store, 4, accuracyEntry("s", "a", attempt, 1, []float64{0.5, 0.25, 3}, []float64{0.125, 0.25, 0.75},
		map[uint32]float64{2: 0.25}))
	for _, losses := range []bool{false, true} {
		response, err := store.Snapshot().ListTrials(&trellisv1.ListTrialsRequest{
			Study: "s", OrderBy: "index",
			Losses: losses,
		})
		ok(t, err)
		for i, want := range [][]float64{{0.125, 0.25}, {0.125, 0.25, 0.75}} {
			if !losses {
				want = nil
			}
			metrics := response.GetTrials()[i].GetEpochMetrics()
			if got := metrics["validation_accuracy"].GetValues(); !slices.Equal(got, want) ||
				len(metrics) != min(1, len(want)) {
				t.Errorf("trial %d, losses %t: metrics by epoch %v, want %v", i, losses, metrics, want)
			}
		}
	}
}

// TestMetricsRefused: what is no column of metrics leaves no trace, and what contradicts what is recorded ends the
// attempt.
func TestMetricsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*trellisv1.Reports)
		want   error
	}{
		"the same":             {func(*trellisv1.Reports) {}, nil},
		"without test results": {func(r *trellisv1.Reports) { r.TestLoss, r.TestMetrics = nil, nil }, nil},
		"one value too many": {func(r *trellisv1.Reports) {
			r.Metrics["validation_accuracy"].Values = []float64{
				1, 2,
				3,
			}
		}, ErrInvalid},
		"no values": {
			func(r *trellisv1.Reports) { r.Metrics["validation_accuracy"].Values = nil },
			ErrInvalid,
		},
		"of no images": {
			func(r *trellisv1.Reports) { r.Metrics["accuracy"] = r.Metrics["validation_accuracy"] }, ErrInvalid,
		},
		"capitals": {
			func(r *trellisv1.Reports) { r.Metrics["train_A"] = r.Metrics["validation_accuracy"] },
			ErrInvalid,
		},
		"a long name": {func(r *trellisv1.Reports) {
			r.Metrics["train_"+strings.Repeat("a", 59)] = r.Metrics["validation_accuracy"]
		}, ErrInvalid},
		"no name":               {func(r *trellisv1.Reports) { r.TestMetrics[2].Values[""] = 1 }, ErrInvalid},
		"a test without a loss": {func(r *trellisv1.Reports) { r.TestMetrics[1] = &trellisv1.Metrics{} }, ErrInvalid},
		"many": {func(r *trellisv1.Reports) {
			for i := range 16 {
				r.Metrics["train_"+strings.Repeat("a", i+1)] = r.Metrics["validation_accuracy"]
			}
		}, ErrInvalid},
		"many of a test": {func(r *trellisv1.Reports) {
			for i := range 16 {
				r.TestMetrics[2].Values[strings.Repeat("a", i+1)] = 1
			}
		}, ErrInvalid},
		"another value": {
			func(r *trellisv1.Reports) { r.Metrics["validation_accuracy"].Values[0] = 0.5 },
			ErrConflict,
		},
		"a number for NaN": {
			func(r *trellisv1.Reports) { r.Metrics["validation_accuracy"].Values[1] = 0.5 },
			ErrConflict,
		},
		"none": {func(r *trellisv1.Reports) { r.Metrics = nil }, ErrConflict},
		"one more": {
			func(r *trellisv1.Reports) { r.Metrics["train_accuracy"] = r.Metrics["validation_accuracy"] }, ErrConflict,
		},
		"another": {func(r *trellisv1.Reports) {
			r.Metrics = map[string]*trellisv1.Series{"train_accuracy": {Values: []float64{1, 2}}}
		}, ErrConflict},
		"another test value": {func(r *trellisv1.Reports) { r.TestMetrics[2].Values["accuracy"] = 0.5 }, ErrConflict},
		"another test": {
			func(r *trellisv1.Reports) { r.TestMetrics[2].Values = map[string]float64{"loss": 0.5} },
			ErrConflict,
		},
		"no test metrics": {func(r *trellisv1.Reports) { r.TestMetrics = nil }, ErrConflict},
	} {
		t.Run(name, func(t *testing.T) {
			store := newSharingStore(t)
			sharingStudy(t, store, 2, "s", false, map[string][]uint32{"a": {9}})
			attempt := grant1(t, store, 3, "s", "a", "w")
			entry := accuracyEntry("s", "a", attempt, 1, []float64{1, 2}, []float64{0.25, math.NaN()},
				map[uint32]float64{2: 0.25})
			record(t, store, 4, entry)
			before, err := store.Snapshot().Losses(nil, "s", "a")
			ok(t, err)
			again := proto.CloneOf(entry)
			test.change(again.GetReports())
			entries := []*trellisv1.RecordCommand_Entry{again}
			if got := store.Record(5, at(5), trajectory.LatestRules, entries)[0]; !errors.Is(got, test.want) {
				t.Errorf("error %v, want %v", got, test.want)
			}
			after, err := store.Snapshot().Losses(nil, "s", "a")
			ok(t, err)
			equal(t, "losses", after, before)
			run, err := store.Snapshot().Run(nil, "s", "a")
			ok(t, err)
			if ended := run.State == lifecycle.RunPending; ended != (test.want == ErrConflict) ||
				ended != (run.Dispute != nil) {
				t.Errorf("the run is %v, dispute %v", run.State, run.Dispute)
			}
		})
	}
}

// TestArtifactsOfSources: what a study begins with is referred to for as long as the study is there, whatever becomes
// of the study that it comes from.
func TestArtifactsOfSources(t *testing.T) {
	store := newSharingStore(t)
	sharingStudy(t, store, 2, "s", false, map[string][]uint32{"a": {2}})
	attempt := grant1(t, store, 3, "s", "a", "w")
	record(t, store, 4, columnEntry("s", "a", attempt, 1, []float64{1, 1}, []float64{1, 1}, nil),
		checkpointEntry("s", "a", attempt, 2, digest("a")))
	run, trials := testRun("b", 16, 0, 2)
	source := &trellisv1.Source{Study: "s", Run: "a", Sha256: digest("a"), Size: 1002}
	ok(t, store.CreateListed(5, at(5), &trellisv1.Study{Name: "classes", Pretrained: source}, []*trellisv1.Run{run},
		trials))
	want := func(referred bool) {
		t.Helper()
		artifacts, err := store.Snapshot().Artifacts()
		ok(t, err)
		if artifacts[digest("a")] != referred {
			t.Errorf("the artifacts are %v, want the source's among them: %v", artifacts, referred)
		}
	}
	want(true)
	ok(t, store.DeleteStudy(6, "s", 0, 0))
	want(true)
	// It is kept by everything that becomes of the study.
	ok(t, store.SetStudyState(7, at(7), "classes", lifecycle.StudyPaused))
	restored := newStore(t)
	ok(t, restored.Restore(strings.NewReader(string(written(t, store)))))
	store = restored
	want(true)
	study, err := store.Snapshot().Study(nil, "classes")
	ok(t, err)
	equal(t, "source", study.Pretrained, source)
	ok(t, store.DeleteStudy(8, "classes", 0, 0))
	want(false)
}

// TestArtifactsOfSealed: what sealed runs refer to is found, and those that refer to nothing are not read for it.
func TestArtifactsOfSealed(t *testing.T) {
	store := newStore(t)
	ok(t, store.SetWorker(1, at(1), trajectory.LatestRules, &trellisv1.Worker{
		Name: "w", State: lifecycle.WorkerReady, Slots: 2,
	}))
	ok(t, store.CreateStudy(2, at(2), &trellisv1.Study{Name: "s", Spec: sealedSpec(), Numerics: "1"}))
	waiting, err := store.Snapshot().NextRuns(nil, 2)
	ok(t, err)
	for i, run := range waiting {
		index, losses := 3+2*uint64(i), []float64{4, 3, 2, 1}
		attempt := grant1(t, store, index, "s", run.Id, "w")
		entries := []*trellisv1.RecordCommand_Entry{columnEntry("s", run.Id, attempt, 1, losses, losses, nil)}
		if i == 1 {
			entries = append(entries, checkpointEntry("s", run.Id, attempt, 4, digest("a")))
		}
		record(t, store, index+1, append(entries, stageEntry("s", run.Id, attempt, 4))...)
	}
	snapshot := store.Snapshot()
	if sealed, err := snapshot.hasSealed("s"); err != nil || !sealed {
		t.Fatalf("sealed: %t, %v", sealed, err)
	}
	artifacts, err := snapshot.Artifacts()
	ok(t, err)
	if len(artifacts) != 1 || !artifacts[digest("a")] {
		t.Errorf("the artifacts are %v, want the checkpoint's alone", artifacts)
	}
	run, _, err := snapshot.SavedBy(digest("a"))
	ok(t, err)
	if run.Id != waiting[1].Id {
		t.Errorf("the checkpoint is that of the run %s, want %s", run.Id, waiting[1].Id)
	}
	members, err := snapshot.withOwn()
	ok(t, err)
	for member := range members {
		if member.Run.Id != waiting[1].Id {
			t.Errorf("the run %s is read, which refers to nothing", member.Run.Id)
		}
	}
}

// TestMetricsOrderAndFilter: trials are ordered and filtered by what their model reports; those without it are last
// either way round, and meet no condition on it.
func TestMetricsOrderAndFilter(t *testing.T) {
	store := newSharingStore(t)
	sharingStudy(t, store, 2, "s", false, map[string][]uint32{"a": {1}, "b": {1}, "c": {1}})
	list := func(request *trellisv1.ListTrialsRequest) (string, error) {
		request.Study = "s"
		response, err := store.Snapshot().ListTrials(request)
		var runs strings.Builder
		for _, trial := range response.GetTrials() {
			runs.WriteString(trial.Run)
		}
		return runs.String(), err
	}
	if _, err := list(&trellisv1.ListTrialsRequest{OrderBy: "accuracy"}); !errors.Is(err, ErrInvalid) {
		t.Errorf("before the first epoch: error %v, want %v", err, ErrInvalid)
	}
	for i, run := range []string{"a", "b"} {
		attempt := grant1(t, store, uint64(3+i), "s", run, "w")
		record(t, store, uint64(5+i), accuracyEntry("s", run, attempt, 1, []float64{0.5 - float64(i)/4},
			[]float64{0.25 + float64(i)/2},
			map[uint32]float64{1: 0.5 - float64(i)/4}))
	}
	for orderBy, want := range map[string]string{
		"accuracy": "abc", "-accuracy": "bac", "test_accuracy": "abc", "-test_accuracy": "bac", "objective": "bac",
	} {
		if got, err := list(&trellisv1.ListTrialsRequest{OrderBy: orderBy}); err != nil || got != want {
			t.Errorf("order by %s: %s and error %v, want %s", orderBy, got, err, want)
		}
	}
	for filter, want := range map[string]string{
		"accuracy > 0.5": "b", "accuracy == 0.25": "a", "!(accuracy > 0.5)": "ac",
		"test_accuracy < 0.75 && max_epochs > 0": "a",
	} {
		if got, err := list(&trellisv1.ListTrialsRequest{Filter: filter}); err != nil || got != want {
			t.Errorf("filter %s: %s and error %v, want %s", filter, got, err, want)
		}
	}
	_, err := list(&trellisv1.ListTrialsRequest{OrderBy: "acuracy"})
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), `did you mean "accuracy"`) {
		t.Errorf("a misspelt metric: error %v", err)
	}
	var token string
	var paged strings.Builder
	for range 3 {
		request := &trellisv1.ListTrialsRequest{Study: "s", OrderBy: "-accuracy", PageSize: 1, PageToken: token}
		response, err := store.Snapshot().ListTrials(request)
		ok(t, err)
		paged.WriteString(response.Trials[0].Run)
		token = response.NextPageToken
	}
	if paged.String() != "bac" || token != "" {
		t.Errorf("page by page: %s, then %q", &paged, token)
	}
}

// TestLastMetrics: runs tell what they have reported of their last epoch, not of their best one.
func TestLastMetrics(t *testing.T) {
	store := newSharingStore(t)
	sharingStudy(t, store, 2, "s", false, map[string][]uint32{"a": {4}, "b": {4}})
	attempt := grant1(t, store, 3, "s", "a", "w")
	record(t, store, 4, accuracyEntry("s", "a", attempt, 1, []float64{1, 2}, []float64{0.25, 0.125}, nil))
	snapshot := store.Snapshot()
	var runs []*trellisv1.Run
	for _, id := range []string{"b", "a"} {
		run, err := snapshot.Run(nil, "s", id)
		ok(t, err)
		runs = append(runs, run)
	}
	last, err := snapshot.LastMetrics("s", runs)
	ok(t, err)
	if len(last) != 1 || !maps.Equal(last["a"].GetValues(), map[string]float64{"accuracy": 0.125}) {
		t.Errorf("got %v", last)
	}
	if _, err := snapshot.LastMetrics("t", runs); !errors.Is(err, ErrNotFound) {
		t.Errorf("of no study: error %v, want %v", err, ErrNotFound)
	}
}
