package results

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/objective"
	"trellis/results/pruning"
	"trellis/results/trajectory"
)

// programSpec is of a program that is ranked by the highest accuracy.
func programSpec(deterministic bool) *trellisv1.StudySpec {
	return &trellisv1.StudySpec{
		Program: &trellisv1.Program{Deterministic: deterministic, Prefix: true},
		Objective: objective.WithDefaults(&trellisv1.Objective{
			Metric: "acc", Direction: trellisv1.Direction_DIRECTION_MAXIMIZE,
		}),
	}
}

// ownStudy creates a study with a spec, and runs with milestones by id.
func ownStudy(
	t testing.TB, store *Store, index uint64, name string, spec *trellisv1.StudySpec, milestones map[string][]uint32,
) {
	t.Helper()
	var runs []*trellisv1.Run
	var trials []*trellisv1.Trial
	for _, id := range slices.Sorted(maps.Keys(milestones)) {
		run, its := testRun(id, 16, uint64(len(trials)), milestones[id]...)
		runs, trials = append(runs, run), append(trials, its...)
	}
	ok(t, store.CreateListed(index, at(index), &trellisv1.Study{Name: name, Spec: spec}, runs, trials))
}

// none is no value of a metric.
var none = math.Inf(-1)

// ownEntry reports consecutive epochs of a program.
func ownEntry(study, run string, attempt uint64, first uint32, metrics map[string][]float64) *trellisv1.RecordCommand_Entry {
	reports := &trellisv1.Reports{Study: study, Run: run, Attempt: attempt, FirstEpoch: first}
	for name, values := range metrics {
		series := &trellisv1.Series{Values: slices.Clone(values)}
		for i, value := range values {
			if value == none {
				series.Values[i], series.Missing = 0, append(series.Missing, uint32(i))
			}
		}
		if reports.Metrics == nil {
			reports.Metrics = map[string]*trellisv1.Series{}
		}
		reports.Epochs, reports.Metrics[name] = uint32(len(values)), series
	}
	reports.Seconds = make([]float64, reports.Epochs)
	return &trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Reports{Reports: reports}}
}

// refusedWith records an entry that must be refused with an error that says so.
func refusedWith(t *testing.T, store *Store, index uint64, entry *trellisv1.RecordCommand_Entry, want error, text string) {
	t.Helper()
	err := store.Record(index, at(index), trajectory.LatestRules, []*trellisv1.RecordCommand_Entry{entry})[0]
	if !errors.Is(err, want) || !strings.Contains(fmt.Sprint(err), text) {
		t.Errorf("error %v, want %v with %q", err, want, text)
	}
}

// TestProgramReports: they are recorded with what is missing, however they are cut into messages, and trials have the
// objective with the metric's own sign. What is written is restored.
func TestProgramReports(t *testing.T) {
	acc, loss := []float64{none, 0.25, 0.75, none, 0.5}, []float64{3, 2, none, none, 1}
	var want []byte
	for _, cuts := range [][]int{{5}, {1, 1, 1, 1, 1}, {2, 3}, {4, 1}} {
		store := newSharingStore(t)
		ownStudy(t, store, 2, "s", programSpec(true), map[string][]uint32{"a": {1, 4, 5}, "b": {4}})
		attempt := grant1(t, store, 3, "s", "a", "w")
		from, index := 0, uint64(4)
		for _, n := range cuts {
			metrics := map[string][]float64{"acc": acc[from : from+n], "loss": loss[from : from+n]}
			record(t, store, index, ownEntry("s", "a", attempt, uint32(from+1), metrics))
			from, index = from+n, index+1
		}
		record(t, store, 20, stageEntry("s", "a", attempt, 5))
		attempt = grant1(t, store, 21, "s", "b", "w")
		record(t, store, 22, ownEntry("s", "b", attempt, 1, map[string][]float64{"acc": {0.1, 0.2, 0.875, 0.3}}),
			stageEntry("s", "b", attempt, 4))

		losses, err := store.Snapshot().Losses(nil, "s", "a")
		ok(t, err)
		equal(t, "losses", losses, &trellisv1.Losses{
			Study: "s", Run: "a", Epochs: 5, Seconds: make([]float32, 5), Metrics: map[string]*trellisv1.Series{
				"acc":  {Values: []float64{0, 0.25, 0.75, 0, 0.5}, Missing: []uint32{0, 3}},
				"loss": {Values: []float64{3, 2, 0, 0, 1}, Missing: []uint32{2, 3}},
			},
		})
		best, err := store.Snapshot().Best(nil, "s")
		ok(t, err)
		if best.Run != "b" || best.GetObjective() != 0.875 || best.BestEpoch != 3 {
			t.Errorf("the best is %v", best)
		}
		response, err := store.Snapshot().ListTrials(&trellisv1.ListTrialsRequest{Study: "s", OrderBy: "objective"})
		ok(t, err)
		var order []uint64
		for _, trial := range response.Trials {
			order = append(order, trial.Index)
		}
		if !slices.Equal(order, []uint64{3, 1, 2, 0}) {
			t.Errorf("the order is %v", order)
		}
		first := response.Trials[3]
		if first.State != lifecycle.TrialDiverged || !math.IsNaN(first.GetObjective()) || first.BestEpoch != 0 {
			t.Errorf("without a value: %v", first)
		}
		run, err := store.Snapshot().Run(nil, "s", "a")
		ok(t, err)
		if run.GetObjective() != 0.75 || run.BestEpoch != 3 || run.GetMetric() != 0.5 || run.BestValidationLoss != nil {
			t.Errorf("the run is %v", run)
		}
		if metrics := response.Trials[1].Metrics; !maps.Equal(metrics, map[string]float64{"acc": 0.75}) {
			t.Errorf("at its best epoch it has %v", metrics)
		}
		for _, filter := range []string{"loss < 2.5", "objective > 0.8", "acc == 0.75 && epochs == 4"} {
			if _, err := store.Snapshot().ListTrials(&trellisv1.ListTrialsRequest{Study: "s", Filter: filter}); err != nil {
				t.Errorf("filter %s: %v", filter, err)
			}
		}
		digest, err := store.Snapshot().Digest("s")
		ok(t, err)
		if want == nil {
			want = []byte(digest)
		}
		if !bytes.Equal(want, []byte(digest)) {
			t.Errorf("cut by %v, the digest is another one", cuts)
		}
		data := written(t, store)
		restored := newStore(t)
		ok(t, restored.Restore(bytes.NewReader(data)))
		if !bytes.Equal(written(t, restored), data) || mustHash(t, restored.Snapshot()) != mustHash(t, store.Snapshot()) {
			t.Error("what is restored is another store")
		}
		checkIndexes(t, restored.Snapshot())
	}
}

// TestMissingIsDigested: a value of 0 is another result than none.
func TestMissingIsDigested(t *testing.T) {
	digests := map[string]bool{}
	for _, values := range [][]float64{{1, 0, 2}, {1, none, 2}} {
		store := newSharingStore(t)
		ownStudy(t, store, 2, "s", programSpec(true), map[string][]uint32{"a": {3}})
		attempt := grant1(t, store, 3, "s", "a", "w")
		record(t, store, 4, ownEntry("s", "a", attempt, 1, map[string][]float64{"acc": values}))
		digest, err := store.Snapshot().Digest("s")
		ok(t, err)
		digests[digest] = true
	}
	if len(digests) != 2 {
		t.Error("both have the same digest")
	}
}

// TestProgramReportsRefused: what no program of the study may report leaves no trace.
func TestProgramReportsRefused(t *testing.T) {
	store := newSharingStore(t)
	ownStudy(t, store, 2, "s", programSpec(true), map[string][]uint32{"a": {9}})
	ownStudy(t, store, 3, "model", nil, map[string][]uint32{"m": {9}})
	attempt, model := grant1(t, store, 4, "s", "a", "w"), grant1(t, store, 5, "model", "m", "w")
	record(t, store, 6, ownEntry("s", "a", attempt, 1, map[string][]float64{"acc": {0.5}}))
	before := mustHash(t, store.Snapshot())
	change := func(change func(*trellisv1.Reports)) *trellisv1.RecordCommand_Entry {
		entry := ownEntry("s", "a", attempt, 2, map[string][]float64{"acc": {0.5, 0.25}, "loss": {none, 1}})
		change(entry.GetReports())
		return entry
	}
	many := func(n int) *trellisv1.RecordCommand_Entry {
		metrics := map[string][]float64{}
		for i := range n {
			metrics[fmt.Sprintf("m%d", i)] = []float64{1}
		}
		return ownEntry("s", "a", attempt, 2, metrics)
	}
	for text, entry := range map[string]*trellisv1.RecordCommand_Entry{
		"a program reports metrics, not losses": change(func(r *trellisv1.Reports) { r.TrainLoss = []float64{1, 2} }),
		"2 epochs and 1 times":                  change(func(r *trellisv1.Reports) { r.Seconds = r.Seconds[:1] }),
		"the run's epochs are 1 to 9":           change(func(r *trellisv1.Reports) { r.FirstEpoch = 9 }),
		"1 values of metric acc of 2 epochs":    change(func(r *trellisv1.Reports) { r.Metrics["acc"].Values = []float64{1} }),
		"missing values are not at": change(func(r *trellisv1.Reports) {
			r.Metrics["acc"].Missing = []uint32{0}
		}),
		"ascending positions": change(func(r *trellisv1.Reports) {
			r.Metrics["loss"].Missing = []uint32{0, 0}
		}),
		"of 2 epochs: missing": change(func(r *trellisv1.Reports) { r.Metrics["loss"].Missing = []uint32{2} }),
		`metric "9th"`:         change(func(r *trellisv1.Reports) { r.Metrics["9th"] = r.Metrics["acc"] }),
		`metric "a b"`:         change(func(r *trellisv1.Reports) { r.Metrics["a b"] = r.Metrics["acc"] }),
		`metric "mmm`: change(func(r *trellisv1.Reports) {
			r.Metrics[strings.Repeat("m", 64)] = r.Metrics["acc"]
		}),
		"101 metrics, at most 100": many(100),
		"the run has a model":      ownEntry("model", "m", model, 1, map[string][]float64{"acc": {1}}),
	} {
		refusedWith(t, store, 7, entry, ErrInvalid, text)
	}
	if mustHash(t, store.Snapshot()) != before {
		t.Error("what was refused has changed the store")
	}
	record(t, store, 8, many(99))
}

// TestProgramConflicts: a deterministic program repeats what is recorded, bit for bit, including which values are
// missing.
func TestProgramConflicts(t *testing.T) {
	for name, test := range map[string]struct {
		again map[string][]float64
		text  string
	}{
		"the same":            {map[string][]float64{"acc": {0.5, none}, "loss": {2, 1}}, ""},
		"missing all along":   {map[string][]float64{"acc": {0.5, none}, "loss": {2, 1}, "other": {none, none}}, ""},
		"another value":       {map[string][]float64{"acc": {0.5, none}, "loss": {2, 1.5}}, "epoch 2: recorded the metric loss as 1, reported 1.5"},
		"a value for none":    {map[string][]float64{"acc": {0.5, 0}, "loss": {2, 1}}, "epoch 2: recorded no metric acc, reported 0"},
		"none for a value":    {map[string][]float64{"acc": {0.5, none}, "loss": {none, 1}}, "epoch 1: recorded the metric loss as 2, not reported"},
		"a metric is lacking": {map[string][]float64{"acc": {0.5, none}}, "epoch 1: recorded the metric loss as 2, not reported"},
		"one metric more":     {map[string][]float64{"acc": {0.5, none}, "loss": {2, 1}, "more": {none, 3}}, "epoch 2: recorded no metric more, reported 3"},
	} {
		t.Run(name, func(t *testing.T) {
			store := newSharingStore(t)
			// Without a machine that can decide, the program would not be deterministic.
			ok(t, store.SetWorker(1, at(1), trajectory.LatestRules, &trellisv1.Worker{
				Name: "x", State: lifecycle.WorkerReady, Slots: 1, Capacity: &trellisv1.Capacity{Programs: true},
			}))
			ownStudy(t, store, 2, "s", programSpec(true), map[string][]uint32{"a": {9}})
			attempt := grant1(t, store, 3, "s", "a", "w")
			record(t, store, 4, ownEntry("s", "a", attempt, 1, map[string][]float64{"acc": {0.5, none}, "loss": {2, 1}}),
				returnEntry("s", "a", attempt))
			attempt = grant1(t, store, 5, "s", "a", "w")
			entry := ownEntry("s", "a", attempt, 1, test.again)
			if test.text == "" {
				record(t, store, 6, entry)
				return
			}
			refusedWith(t, store, 6, entry, ErrConflict, test.text)
			run, err := store.Snapshot().Run(nil, "s", "a")
			ok(t, err)
			if run.Dispute == nil || run.Epochs != 2 {
				t.Errorf("after a conflict the run is %v", run)
			}
		})
	}
}

// TestLastAttemptCounts: of a program that is not deterministic, what an attempt reports again replaces what was recorded
// from there on, but for results that trials have.
func TestLastAttemptCounts(t *testing.T) {
	store := newSharingStore(t)
	ownStudy(t, store, 2, "s", programSpec(false), map[string][]uint32{"a": {2, 9}})
	attempt := grant1(t, store, 3, "s", "a", "w")
	record(t, store, 4, ownEntry("s", "a", attempt, 1, map[string][]float64{"acc": {0.1, 0.2, 0.3, 0.9, 0.4}}),
		checkpointEntry("s", "a", attempt, 2, digest("2")), checkpointEntry("s", "a", attempt, 5, digest("5")),
		returnEntry("s", "a", attempt))
	attempt = grant1(t, store, 5, "s", "a", "w")
	check := func(epochs uint32, acc ...float64) *trellisv1.Run {
		t.Helper()
		run, err := store.Snapshot().Run(nil, "s", "a")
		ok(t, err)
		losses, err := store.Snapshot().Losses(nil, "s", "a")
		ok(t, err)
		if got := losses.Metrics["acc"].GetValues(); run.Epochs != epochs || !slices.Equal(got, acc) || run.Dispute != nil {
			t.Fatalf("%d epochs %v, want %d %v; dispute %v", run.Epochs, got, epochs, acc, run.Dispute)
		}
		return run
	}
	// The first two are the result of a trial.
	record(t, store, 6, ownEntry("s", "a", attempt, 1, map[string][]float64{"acc": {0.15}}))
	run := check(2, 0.1, 0.2)
	if len(run.Checkpoints) != 1 || run.Checkpoints[0].Epoch != 2 || run.GetObjective() != 0.2 || run.BestEpoch != 2 {
		t.Errorf("taken back, the run is %v", run)
	}
	record(t, store, 7, ownEntry("s", "a", attempt, 2, map[string][]float64{"acc": {0.25, 0.35}}))
	check(3, 0.1, 0.2, 0.35)
	record(t, store, 8, ownEntry("s", "a", attempt, 4, map[string][]float64{"acc": {0.5, 0.6}}), returnEntry("s", "a", attempt))
	// The next one is the same for two epochs, and ends earlier.
	attempt = grant1(t, store, 9, "s", "a", "w")
	record(t, store, 10, ownEntry("s", "a", attempt, 3, map[string][]float64{"acc": {0.35, 0.5}}),
		successEntry("s", "a", attempt, 4))
	check(4, 0.1, 0.2, 0.35, 0.5)
	trial, err := store.Snapshot().Trial("s", 0)
	ok(t, err)
	if trial.GetObjective() != 0.2 {
		t.Errorf("the trial with a result has %v now", trial)
	}
	checkIndexes(t, store.Snapshot())
}

// TestProgramsShare: a deterministic program's runs are shared, also by studies with other objectives, each of which has
// its own. Those of others are not.
func TestProgramsShare(t *testing.T) {
	for _, deterministic := range []bool{true, false} {
		store := newSharingStore(t)
		ownStudy(t, store, 2, "s", programSpec(deterministic), map[string][]uint32{"a": {4}})
		attempt := grant1(t, store, 3, "s", "a", "w")
		record(t, store, 4, ownEntry("s", "a", attempt, 1, map[string][]float64{
			"acc": {0.5, none, 0.25, 0.125}, "loss": {4, 3, 1, 2}, "late": {none, none, none, 1},
		}), stageEntry("s", "a", attempt, 4))
		spec := programSpec(deterministic)
		spec.Objective = &trellisv1.Objective{
			Metric: "loss", Direction: trellisv1.Direction_DIRECTION_MINIMIZE, Of: trellisv1.Objective_SUMMARY_BEST,
		}
		ownStudy(t, store, 5, "other", spec, map[string][]uint32{"a": {2, 3}})
		for index, want := range []float64{3, 1} {
			trial, err := store.Snapshot().Trial("other", uint64(index))
			ok(t, err)
			if !deterministic && trial.State != lifecycle.TrialPending {
				t.Errorf("not deterministic, trial %d is %v", index, trial)
			}
			if deterministic && (trial.GetObjective() != want || trial.State != lifecycle.TrialSucceeded) {
				t.Errorf("trial %d is %v, want %v", index, trial, want)
			}
		}
		if run := knownOf(t, store.Snapshot(), &trellisv1.Run{Id: "a"}); (run != nil) != deterministic {
			t.Errorf("deterministic %t: known is %v", deterministic, run)
		}
		if deterministic {
			losses, err := store.Snapshot().Losses(nil, "other", "a")
			ok(t, err)
			if _, late := losses.Metrics["late"]; late || losses.Epochs != 3 {
				t.Errorf("of three epochs it has %v", losses)
			}
		}
	}
}

// TestObjectiveNotReported: the first run that ends without the objective's metric fails with what was reported, and so do
// those that wait, unless another run has reported it.
func TestObjectiveNotReported(t *testing.T) {
	for _, known := range []bool{false, true} {
		store := newSharingStore(t)
		ownStudy(t, store, 2, "s", programSpec(true), map[string][]uint32{"a": {2}, "b": {2}, "c": {2}, "d": {2}})
		attempts := map[string]uint64{"a": grant1(t, store, 3, "s", "a", "w"), "b": grant1(t, store, 4, "s", "b", "w")}
		if known {
			record(t, store, 5, ownEntry("s", "b", attempts["b"], 1, map[string][]float64{"acc": {0.5}}))
		}
		record(t, store, 6, ownEntry("s", "a", attempts["a"], 1, map[string][]float64{"accuracy": {1, 2}, "loss": {1, 2}}),
			stageEntry("s", "a", attempts["a"], 2))
		run := func(id string) *trellisv1.Run {
			run, err := store.Snapshot().Run(nil, "s", id)
			ok(t, err)
			return run
		}
		a := run("a")
		if a.State != lifecycle.RunFailed || a.Error != "did not report acc; reported: accuracy, loss" ||
			a.Failures[0].Class != trellisv1.FailureClass_FAILURE_CLASS_INPUT {
			t.Errorf("the run is %v", a)
		}
		want := lifecycle.RunFailed
		if known {
			want = lifecycle.RunPending
		}
		for _, id := range []string{"c", "d"} {
			if its := run(id); its.State != want || (its.Error != "") != (want == lifecycle.RunFailed) {
				t.Errorf("known %t: run %s is %v", known, id, its)
			}
		}
		if b := run("b"); b.State != lifecycle.RunLeased {
			t.Errorf("the run that is being trained is %v", b)
		}
		for index, want := range map[uint64]string{
			0: "did not report acc; reported: accuracy, loss",
			2: "not trained, because trial 0 failed and every run would fail the same way",
		} {
			trial, err := store.Snapshot().Trial("s", index)
			ok(t, err)
			if failed := !known || index == 0; failed != (trial.State == lifecycle.TrialFailed) || failed && trial.Error != want ||
				trial.Objective != nil {
				t.Errorf("known %t: trial %d is %v", known, index, trial)
			}
		}
		study, err := store.Snapshot().Study(nil, "s")
		ok(t, err)
		if p := study.Progress; p.TrialsSucceeded != 0 || known && p.TrialsFailed != 1 || !known && p.TrialsFailed != 3 {
			t.Errorf("known %t: the progress is %v", known, p)
		}
		checkIndexes(t, store.Snapshot())
		if !known {
			n, err := store.RetryStudy(7, at(7), trajectory.LatestRules, "s", false)
			if err != nil || n != 3 {
				t.Errorf("retried %d, error %v", n, err)
			}
		}
	}
}

// TestObjectiveReportedLate: trials that end before the objective's metric is first reported get their results then, and
// keep them when a program that is not deterministic is trained again.
func TestObjectiveReportedLate(t *testing.T) {
	store := newSharingStore(t)
	ownStudy(t, store, 2, "s", programSpec(false), map[string][]uint32{"a": {1, 2, 4, 5}})
	attempt := grant1(t, store, 3, "s", "a", "w")
	states := func(want string) {
		t.Helper()
		response, err := store.Snapshot().ListTrials(&trellisv1.ListTrialsRequest{Study: "s"})
		ok(t, err)
		var got []string
		for _, trial := range response.Trials {
			got = append(got, lifecycle.Name(trial.State))
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("the trials are %s, want %s", text, want)
		}
		study, err := store.Snapshot().Study(nil, "s")
		ok(t, err)
		if answered := 4 - strings.Count(want, "running"); study.Progress.TrialsSucceeded != uint64(answered) {
			t.Errorf("%d trials have results, want %d", study.Progress.TrialsSucceeded, answered)
		}
		checkIndexes(t, store.Snapshot())
		restored := newStore(t)
		ok(t, restored.Restore(bytes.NewReader(written(t, store))))
		if mustHash(t, restored.Snapshot()) != mustHash(t, store.Snapshot()) {
			t.Error("what is restored is another store")
		}
	}
	record(t, store, 4, ownEntry("s", "a", attempt, 1, map[string][]float64{"loss": {3, 2}}))
	states("running running running running")
	record(t, store, 5, ownEntry("s", "a", attempt, 3, map[string][]float64{"loss": {1, 1}, "acc": {0.5, none}}))
	states("diverged diverged succeeded running")
	record(t, store, 6, failureEntry("s", "a", attempt, trellisv1.FailureClass_FAILURE_CLASS_WORKER_LOST, ""))
	attempt = grant1(t, store, 7, "s", "a", "w")
	record(t, store, 8, ownEntry("s", "a", attempt, 1, map[string][]float64{"loss": {7, 7, 7}}))
	states("diverged diverged succeeded running")
	record(t, store, 9, ownEntry("s", "a", attempt, 4, map[string][]float64{"loss": {7, 7}, "acc": {0.7, 0.75}}))
	states("diverged diverged succeeded succeeded")
}

// TestProgramThatCannotBeTrained: where a run says that no worker can train it, those that wait fail too, unless another
// run has reported the objective's metric. Where runs fail for other reasons, it takes three.
func TestProgramThatCannotBeTrained(t *testing.T) {
	const input, other = trellisv1.FailureClass_FAILURE_CLASS_INPUT, trellisv1.FailureClass_FAILURE_CLASS_OUT_OF_MEMORY
	for _, test := range []struct {
		name   string
		class  trellisv1.FailureClass
		fail   []string
		known  bool
		refuse bool
	}{
		{"no worker can train it", input, []string{"a"}, false, true},
		{"another run has reported", input, []string{"a"}, true, false},
		{"two runs fail", other, []string{"a", "b"}, false, false},
		{"three runs fail", other, []string{"a", "b", "c"}, false, true},
		{"three runs fail, another has reported", other, []string{"a", "b", "c"}, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := newSharingStore(t)
			ownStudy(t, store, 2, "s", programSpec(true),
				map[string][]uint32{"a": {2}, "b": {2}, "c": {2}, "d": {2}, "e": {2}})
			index := uint64(3)
			next := func() uint64 { index++; return index }
			if test.known {
				attempt := grant1(t, store, next(), "s", "d", "w")
				record(t, store, next(), ownEntry("s", "d", attempt, 1, map[string][]float64{"acc": {0.5}}))
			}
			for _, id := range test.fail {
				attempt := grant1(t, store, next(), "s", id, "w")
				record(t, store, next(), failureEntry("s", id, attempt, test.class, "it says why"))
			}
			run, err := store.Snapshot().Run(nil, "s", "e")
			ok(t, err)
			switch {
			case !test.refuse && run.State == lifecycle.RunPending:
			case test.refuse && run.State == lifecycle.RunFailed && strings.HasPrefix(run.Error, "not trained, because "):
			default:
				t.Errorf("the run that waits is %v", run)
			}
			checkIndexes(t, store.Snapshot())
		})
	}
}

// TestMetricComesLate: it may begin after the first epoch of a run.
func TestMetricComesLate(t *testing.T) {
	store := newSharingStore(t)
	ownStudy(t, store, 2, "s", programSpec(true), map[string][]uint32{"a": {3}})
	attempt := grant1(t, store, 3, "s", "a", "w")
	record(t, store, 4, ownEntry("s", "a", attempt, 1, map[string][]float64{"loss": {1}}))
	record(t, store, 5, ownEntry("s", "a", attempt, 2, map[string][]float64{"acc": {0.5, 0.25}}), stageEntry("s", "a", attempt, 3))
	trial, err := store.Snapshot().Trial("s", 0)
	ok(t, err)
	want := &trellisv1.Trial{Objective: proto.Float64(0.5), BestEpoch: 2, Epochs: 3}
	if trial.GetObjective() != want.GetObjective() || trial.BestEpoch != want.BestEpoch || trial.Epochs != want.Epochs {
		t.Errorf("the trial is %v", trial)
	}
}

// TestStoppingASHA follows every decision of the stopping type: rungs at 1, 2 and 4 epochs, half of the runs go on, rounded
// up. Runs that don't are ended while they train, and never taken up again, as their program can't resume.
func TestStoppingASHA(t *testing.T) {
	store := newSharingStore(t)
	spec := programSpec(false)
	spec.Pruning = ashaOf(1, 2)
	ownStudy(t, store, 2, "s", spec, map[string][]uint32{"a": {8}, "b": {8}, "c": {8}, "d": {8}})
	study, err := store.Snapshot().Study(nil, "s")
	ok(t, err)
	attempts := map[string]uint64{}
	for i, id := range []string{"a", "b", "c", "d"} {
		attempts[id] = grant1(t, store, uint64(3+i), "s", id, "w")
	}
	index := uint64(10)
	state := func(id string) trellisv1.RunState {
		run, err := store.Snapshot().Run(nil, "s", id)
		ok(t, err)
		if until := pruning.Stage(study, run); until != 8 {
			t.Errorf("an attempt at run %s is to end at %d", id, until)
		}
		return run.State
	}
	report := func(id string, first uint32, want trellisv1.RunState, acc ...float64) {
		t.Helper()
		index++
		record(t, store, index, ownEntry("s", id, attempts[id], first, map[string][]float64{"acc": acc}))
		if got := state(id); got != want {
			t.Errorf("run %s after epoch %d: %v, want %v", id, int(first)+len(acc)-1, got, want)
		}
		checkIndexes(t, store.Snapshot())
	}
	report("a", 1, lifecycle.RunLeased, 0.5)       // The first at a rung goes on.
	report("b", 1, lifecycle.RunPruned, 0.25)      // The worse of two does not.
	report("c", 1, lifecycle.RunLeased, 0.75)      // The best of three.
	report("a", 2, lifecycle.RunLeased, 0.875)     // The first at the next rung.
	report("c", 2, lifecycle.RunPruned, 0.75)      // Its best is the worse of two, although it is the same as before.
	report("d", 1, lifecycle.RunPruned, none, 0.9) // Without a value it is the last at the first rung.
	if state("b") != lifecycle.RunPruned || state("c") != lifecycle.RunPruned {
		t.Error("a run that was stopped has been taken up again")
	}
}

// TestRestoreUnranked: trials that got results without the objective's metric, from the version that gave them those,
// have failed with their run.
func TestRestoreUnranked(t *testing.T) {
	run, trials := testRun("a", 16, 0, 1, 2)
	run.Study, run.State, run.Epochs, run.Error = "s", lifecycle.RunFailed, 2, "why"
	var rows []proto.Message
	for _, trial := range trials {
		trial.Study, trial.State, trial.Epochs = "s", lifecycle.TrialSucceeded, trial.Parameters.MaxEpochs
		trial.Objective = proto.Float64(math.NaN())
		rows = append(rows, trial)
	}
	store := newStore(t)
	ok(t, store.Restore(bytes.NewReader(forged(
		payload(tableStudies, &trellisv1.Study{
			Name: "s", Spec: programSpec(true), State: lifecycle.StudyCompleted, Indices: 2, Progress: &trellisv1.Progress{
				Runs: 1, RunsFailed: 1, Trials: 2, TrialsSucceeded: 2, Epochs: 2, EpochsAlone: 3, TrainingSeconds: 7,
			},
		}),
		payload("runs", run), payload("trials", rows...),
		payload("losses", &trellisv1.Losses{
			Study: "s", Run: "a", Epochs: 2, Seconds: []float32{1, 1},
			Metrics: map[string]*trellisv1.Series{"loss": {Values: []float64{1, 2}}},
		}), endMark(5)))))
	checkIndexes(t, store.Snapshot())
	trial, err := store.Snapshot().Trial("s", 1)
	ok(t, err)
	study, err := store.Snapshot().Study(nil, "s")
	ok(t, err)
	if p := study.Progress; trial.State != lifecycle.TrialFailed || trial.Error != "why" || p.TrialsFailed != 2 ||
		p.TrialsSucceeded != 0 || p.TrainingSeconds != 7 {
		t.Errorf("the trial is %v, the progress %v", trial, p)
	}
	if _, err := store.Snapshot().Best(nil, "s"); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("the best: %v", err)
	}
}
