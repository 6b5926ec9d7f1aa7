package results

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/listing"
	"trellis/results/trajectory"
)

func TestCreateStudyInvalid(t *testing.T) {
	for name, breaks := range map[string]func(study *trellisv1.Study, runs []*trellisv1.Run,
		trials *[]*trellisv1.Trial){
		"no name":   func(s *trellisv1.Study, _ []*trellisv1.Run, _ *[]*trellisv1.Trial) { s.Name = "" },
		"zero byte": func(s *trellisv1.Study, _ []*trellisv1.Run, _ *[]*trellisv1.Trial) { s.Name = "a\x00b" },
		"no run id": func(_ *trellisv1.Study, r []*trellisv1.Run, _ *[]*trellisv1.Trial) { r[0].Id = "" },
		"same run":  func(_ *trellisv1.Study, r []*trellisv1.Run, _ *[]*trellisv1.Trial) { r[1].Id = r[0].Id },
		"no milestones": func(_ *trellisv1.Study, r []*trellisv1.Run, _ *[]*trellisv1.Trial) {
			r[0].Milestones, r[0].Parameters.MaxEpochs = nil, 0
		},
		"milestone 0": func(_ *trellisv1.Study, r []*trellisv1.Run, _ *[]*trellisv1.Trial) { r[0].Milestones[0] = 0 },
		"descending":  func(_ *trellisv1.Study, r []*trellisv1.Run, _ *[]*trellisv1.Trial) { r[0].Milestones[0] = 4 },
		"longer run": func(_ *trellisv1.Study, r []*trellisv1.Run,
			_ *[]*trellisv1.Trial,
		) {
			r[0].Parameters.MaxEpochs = 5
		},
		"no trials": func(_ *trellisv1.Study, _ []*trellisv1.Run, t *[]*trellisv1.Trial) { *t = nil },
		"trial missing": func(_ *trellisv1.Study, _ []*trellisv1.Run, t *[]*trellisv1.Trial) {
			*t = (*t)[1:]
		},
		"trial of no run": func(_ *trellisv1.Study, _ []*trellisv1.Run, t *[]*trellisv1.Trial) { (*t)[0].Run = "z" },
		"no such milestone": func(_ *trellisv1.Study, _ []*trellisv1.Run,
			t *[]*trellisv1.Trial,
		) {
			(*t)[0].Parameters.MaxEpochs = 1
		},
		"same milestone": func(_ *trellisv1.Study, _ []*trellisv1.Run, t *[]*trellisv1.Trial) {
			(*t)[0].Parameters.MaxEpochs = 4
		},
		"same index": func(_ *trellisv1.Study, _ []*trellisv1.Run, t *[]*trellisv1.Trial) { (*t)[1].Index = 10 },
		"other parameters": func(_ *trellisv1.Study, _ []*trellisv1.Run, t *[]*trellisv1.Trial) {
			(*t)[0].Parameters.Seed = 7
		},
		"before first": func(_ *trellisv1.Study, _ []*trellisv1.Run, t *[]*trellisv1.Trial) { (*t)[0].Index = 9 },
	} {
		t.Run(name, func(t *testing.T) {
			store := newStore(t)
			empty := mustHash(t, store.Snapshot())
			study := &trellisv1.Study{Name: "s"}
			a, trials := testRun("a", 16, 10, 2, 4)
			b, more := testRun("b", 8, 12, 3)
			runs, trials := []*trellisv1.Run{a, b}, append(trials, more...)
			breaks(study, runs, &trials)
			if err := store.CreateListed(1, at(1), study, runs, trials); !errors.Is(err, ErrInvalid) {
				t.Errorf("error %v, want ErrInvalid", err)
			}
			if mustHash(t, store.Snapshot()) != empty {
				t.Error("something of it was stored")
			}
		})
	}
}

func TestCreateStudyTakesOver(t *testing.T) {
	store := newStore(t)
	study := &trellisv1.Study{
		Name: "s", Spec: &trellisv1.StudySpec{Name: "s", Model: "synthetic"}, DataSet: &trellisv1.DataSet{Name: "d"},
		State: lifecycle.StudyCanceled, ModifyIndex: 99, EndTime: at(9),
	}
	run, trials := testRun("a", 16, 0, 2, 4)
	ok(t, store.CreateListed(7, at(7), study, []*trellisv1.Run{run}, trials))
	got, err := store.Snapshot().Study(nil, "s")
	ok(t, err)
	equal(t, "study", got, &trellisv1.Study{
		Name: "s", Spec: study.Spec, DataSet: study.DataSet, State: lifecycle.StudyRunning, CreateTime: at(7),
		CreateIndex: 7, ModifyIndex: 7, Progress: &trellisv1.Progress{Trials: 2, Runs: 1, EpochsLeft: 4}, Indices: 2,
	})
	gotRun, err := store.Snapshot().Run(nil, "s", "a")
	ok(t, err)
	want := proto.CloneOf(run)
	want.Study, want.State, want.ModifyIndex = "s", lifecycle.RunPending, 7
	equal(t, "run", gotRun, want)
	trial, err := store.Snapshot().Trial("s", 1)
	ok(t, err)
	wantTrial := proto.CloneOf(trials[1])
	wantTrial.Study, wantTrial.State = "s", lifecycle.TrialPending
	equal(t, "trial", trial, wantTrial)
	if _, err := store.Snapshot().Trial("s", 2); !errors.Is(err, ErrNotFound) {
		t.Errorf("a trial that is not there: %v", err)
	}
}

// TestDeleteStudyLeavesNothing: a store whose studies have been deleted hashes like one that has never had any.
func TestDeleteStudyLeavesNothing(t *testing.T) {
	store := newListStore(t)
	run, trials := testRun("a", 16, 0, 2)
	ok(t, store.CreateListed(20, at(20), &trellisv1.Study{Name: "s2"}, []*trellisv1.Run{run}, trials))
	ok(t, store.DeleteStudy(21, "s", 0, 0))
	for table, rows := range tableTexts(t, store.Snapshot()) {
		for _, row := range rows {
			if table != tableWorkers && !strings.Contains(row, "s2") {
				t.Errorf("left in %s: %q", table, row)
			}
		}
	}
	checkIndexes(t, store.Snapshot())
	worker, err := store.Snapshot().Worker(nil, "w")
	ok(t, err)
	if worker.Runs != 0 {
		t.Errorf("the worker still holds %d runs", worker.Runs)
	}
	if _, err := store.Snapshot().Study(nil, "s2"); err != nil {
		t.Errorf("a study whose name begins like the deleted one's is gone: %v", err)
	}
}

// A study that has changed since somebody looked at it is not deleted, nor is another that has its name.
func TestDeleteStudyUnchanged(t *testing.T) {
	store := newStore(t)
	create := func(index uint64) {
		run, trials := testRun("a", 16, 0, 2)
		ok(t, store.CreateListed(index, at(1), &trellisv1.Study{Name: "s"}, []*trellisv1.Run{run}, trials))
	}
	refused := func(index, unchanged uint64) {
		t.Helper()
		before := mustHash(t, store.Snapshot())
		if err := store.DeleteStudy(index, "s", unchanged, 0); !errors.Is(err, ErrStudyChanged) {
			t.Errorf("deleted at %d: %v, want ErrStudyChanged", unchanged, err)
		}
		if mustHash(t, store.Snapshot()) != before {
			t.Error("something of it is gone")
		}
	}
	create(7)
	ok(t, store.SetStudyState(8, at(8), "s", lifecycle.StudyPaused))
	ok(t, store.SetStudyState(9, at(9), "s", lifecycle.StudyRunning))
	refused(10, 8)
	ok(t, store.DeleteStudy(11, "s", 9, 0))
	create(12)
	refused(13, 9)
	ok(t, store.DeleteStudy(14, "s", 12, 0))
	if err := store.DeleteStudy(15, "s", 12, 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted again: %v, want ErrNotFound", err)
	}
}

func TestListStudies(t *testing.T) {
	store := newStore(t)
	for i := range 5 {
		run, trials := testRun("a", 16, 0, 2)
		study := &trellisv1.Study{Name: fmt.Sprintf("s%d", 9-i)}
		ok(t, store.CreateListed(uint64(250+i), at(1), study, []*trellisv1.Run{run}, trials))
	}
	request := &trellisv1.ListStudiesRequest{PageSize: 2}
	var names []string
	for {
		page, err := store.Snapshot().ListStudies(request)
		ok(t, err)
		for _, study := range page.Studies {
			names = append(names, study.Name)
		}
		if page.NextPageToken == "" {
			break
		}
		request.PageToken = page.NextPageToken
		if len(names) == 2 {
			// The study that the next page would start with.
			ok(t, store.DeleteStudy(300, "s7", 0, 0))
		}
	}
	if fmt.Sprint(names) != "[s9 s8 s6 s5]" {
		t.Errorf("studies: %v", names)
	}
	if page, err := store.Snapshot().ListStudies(&trellisv1.ListStudiesRequest{}); err != nil ||
		len(page.Studies) != 4 {
		t.Errorf("the whole list: %v, %v", page, err)
	}
	request.PageToken = "zzzz"
	if _, err := store.Snapshot().ListStudies(request); !errors.Is(err, ErrInvalid) {
		t.Errorf("a token of our own: %v", err)
	}
}

func TestListStudiesLargePages(t *testing.T) {
	store := newStore(t)
	rates := make([]float64, 10_000)
	for i := range rates {
		rates[i] = float64(i)
	}
	spec := &trellisv1.StudySpec{}
	for range 5 {
		spec.Grid = append(spec.Grid, &trellisv1.Grid{Axes: map[string]*trellisv1.Axis{"learning_rate": trellisv1.AxisOf[float64](rates...)}})
	}
	const studies = 12
	for i := range studies {
		run, trials := testRun("a", 16, 0, 2)
		study := &trellisv1.Study{Name: fmt.Sprintf("s%d", i), Spec: spec}
		ok(t, store.CreateListed(uint64(1+i), at(1), study, []*trellisv1.Run{run}, trials))
	}
	request := &trellisv1.ListStudiesRequest{}
	listed := 0
	for {
		page, err := store.Snapshot().ListStudies(request)
		ok(t, err)
		if size := proto.Size(page); size > 2*listing.MaxPageBytes {
			t.Fatalf("a page has %d bytes", size)
		}
		listed += len(page.Studies)
		if request.PageToken = page.NextPageToken; request.PageToken == "" {
			break
		}
	}
	if listed != studies {
		t.Errorf("%d studies are listed, want %d", listed, studies)
	}
}

func TestStudyTimes(t *testing.T) {
	store := newStore(t)
	run, trials := testRun("a", 16, 0, 1)
	ok(t, store.CreateListed(1, at(1), &trellisv1.Study{Name: "s"}, []*trellisv1.Run{run}, trials))
	ok(t, store.SetWorker(2, at(2), trajectory.LatestRules,
		&trellisv1.Worker{Name: "w", State: lifecycle.WorkerReady, Slots: 1}))
	attempt := grant1(t, store, 3, "s", "a", "w")
	record(t, store, 4, reportEntry("s", "a", attempt, 1, 1, 1, nil))
	record(t, store, 5, successEntry("s", "a", attempt, 1))
	study, err := store.Snapshot().Study(nil, "s")
	ok(t, err)
	if !proto.Equal(study.CreateTime, at(1)) || !proto.Equal(study.EndTime, at(5)) ||
		study.State != lifecycle.StudyCompleted {
		t.Errorf("completed study: %v", study)
	}
	got, err := store.Snapshot().Run(nil, "s", "a")
	ok(t, err)
	if got.StopReason != trellisv1.StopReason_STOP_REASON_EARLY_STOPPING || got.TrainingSeconds != 0.5 {
		t.Errorf("succeeded run: %v", got)
	}
}
