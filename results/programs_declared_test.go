package results

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// declared is a store with workers, and a study "s" of one run "a", with trials of 2 and 4 epochs, of a program.
type declared struct {
	*testing.T
	store *Store
	index uint64
	spec  *trellisv1.StudySpec
}

// newDeclared has workers named by a letter and, where there are several of one machine, a digit. The letter is the machine.
func newDeclared(t *testing.T, prefix bool, workers ...string) *declared {
	d := &declared{T: t, store: newStore(t), spec: programSpec(true)}
	d.spec.Program.Prefix, d.spec.Audit = prefix, 1
	for _, name := range workers {
		d.worker(name, lifecycle.WorkerReady)
	}
	ownStudy(t, d.store, d.next(), "s", d.spec, map[string][]uint32{"a": {2, 4}})
	return d
}

func (d *declared) next() uint64 { d.index++; return d.index }

func (d *declared) worker(name string, state trellisv1.WorkerState) {
	d.Helper()
	ok(d, d.store.SetWorker(d.next(), at(d.index), trajectory.LatestRules, &trellisv1.Worker{
		Name: name, Machine: name[:1], State: state, Slots: 4, Capacity: &trellisv1.Capacity{Programs: true},
	}))
}

func (d *declared) record(entry *trellisv1.RecordCommand_Entry) error {
	return d.store.Record(d.next(), at(d.index), trajectory.LatestRules, []*trellisv1.RecordCommand_Entry{entry})[0]
}

func (d *declared) run() *trellisv1.Run {
	d.Helper()
	run, err := d.store.Snapshot().Run(nil, "s", "a")
	ok(d, err)
	return run
}

func (d *declared) study(name string) *trellisv1.Study {
	d.Helper()
	study, err := d.store.Snapshot().Study(nil, name)
	ok(d, err)
	return study
}

// train has a worker train the run from the start, or from the epoch after the other one, and says whether what it
// reports was taken. Fewer values than epochs are as many reports: then the worker hands the run back, with a checkpoint of epoch 1.
func (d *declared) train(worker string, after uint32, values ...float64) bool {
	d.Helper()
	attempt := grant1(d, d.store, d.next(), "s", "a", worker)
	for i, value := range values {
		err := d.record(ownEntry("s", "a", attempt, after+uint32(i)+1, map[string][]float64{"acc": {value}}))
		if errors.Is(err, ErrConflict) {
			return false
		}
		ok(d, err)
	}
	last := after + uint32(len(values))
	if until := d.run().GetAudit().GetMaxEpochs(); last == 4 || last == until {
		ok(d, d.record(stageEntry("s", "a", attempt, last)))
	} else {
		ok(d, d.record(checkpointEntry("s", "a", attempt, 1, digest("a"))))
		ok(d, d.record(returnEntry("s", "a", attempt)))
	}
	return true
}

// wrong returns the workers that are avoided, or whose runs are audited.
func (d *declared) wrong() (names []string) {
	d.Helper()
	ready, err := d.store.Snapshot().ReadyWorkers()
	ok(d, err)
	for _, worker := range ready {
		if worker.Wrong != nil {
			names = append(names, worker.Name)
		}
	}
	slices.Sort(names)
	if suspects := slices.Sorted(slices.Values(d.study("s").Suspects)); !slices.Equal(names, suspects) {
		d.Errorf("wrong are %v, suspects %v", names, suspects)
	}
	return names
}

const (
	isDeterministic = trellisv1.Declaration_DECLARATION_DETERMINISTIC
	isPrefix        = trellisv1.Declaration_DECLARATION_PREFIX
)

// retraining is what a worker reports, after the epoch.
type retraining struct {
	worker string
	after  uint32
	values []float64
}

// A program that is not what its spec declares is found, and no worker is blamed. A worker that alone differs is.
func TestDeclared(t *testing.T) {
	right, other, third := []float64{1, 2, 3, 4}, []float64{1, 5, 3, 4}, []float64{1, 6, 3, 4}
	late := []float64{1, 2, 7, 4}
	short, wrongly := []float64{1, 2}, []float64{1, 9}
	for name, test := range map[string]struct {
		prefix    bool
		workers   []string
		trainings []retraining
		refuted   trellisv1.Declaration
		// epoch is that at which trainings differ.
		epoch uint32
		wrong []string
		// disputed says that more trainings are needed.
		disputed bool
		want     []float64
	}{
		"three machines differ": {
			workers:   []string{"a", "b", "c"},
			trainings: []retraining{{"a", 0, right}, {"b", 0, other}, {"c", 0, third}},
			refuted:   isDeterministic, epoch: 2, want: right,
		},
		"two of three agree with what is recorded": {
			workers:   []string{"a", "b", "c"},
			trainings: []retraining{{"a", 0, right}, {"b", 0, other}, {"c", 0, right}},
			wrong:     []string{"b"}, want: right,
		},
		"two of three agree on something else": {
			workers:   []string{"a", "b", "c"},
			trainings: []retraining{{"a", 0, right}, {"b", 0, other}, {"c", 0, other}},
			wrong:     []string{"a"}, want: other,
		},
		"they begin to differ at different epochs": {
			workers:   []string{"a", "b", "c"},
			trainings: []retraining{{"a", 0, right}, {"b", 0, late}, {"c", 0, other}},
			refuted:   isDeterministic, epoch: 2, want: right,
		},
		"one machine differs from itself": {
			workers:   []string{"a1", "a2"},
			trainings: []retraining{{"a1", 0, right}, {"a2", 0, other}},
			refuted:   isDeterministic, epoch: 2, want: right,
		},
		"one machine differs from itself, and another can decide": {
			workers:   []string{"a1", "a2", "b"},
			trainings: []retraining{{"a1", 0, right}, {"a2", 0, other}},
			disputed:  true, want: right,
		},
		"two machines differ": {
			workers:   []string{"a", "b"},
			trainings: []retraining{{"a", 0, right}, {"b", 0, other}},
			disputed:  true, want: right,
		},
		"two machines differ, and one from itself": {
			workers:   []string{"a", "b"},
			trainings: []retraining{{"a", 0, right}, {"b", 0, other}, {"a", 0, third}},
			refuted:   isDeterministic, epoch: 2, want: right,
		},
		"two machines differ, and one confirms the other": {
			workers:   []string{"a", "b"},
			trainings: []retraining{{"a", 0, right}, {"b", 0, other}, {"a", 0, other}},
			wrong:     []string{"a"}, want: other,
		},
		"two machines differ, and each confirms itself": {
			workers:   []string{"a", "b"},
			trainings: []retraining{{"a", 0, right}, {"b", 0, other}, {"a", 0, right}, {"b", 0, other}},
			refuted:   isDeterministic, epoch: 2, want: right,
		},
		"while it is trained for the first time": {
			workers:   []string{"a1", "a2"},
			trainings: []retraining{{"a1", 0, right[:3]}, {"a2", 0, late}},
			refuted:   isDeterministic, epoch: 3, want: late,
		},
		"it resumes in another way than it continues": {
			workers:   []string{"a", "b", "c"},
			trainings: []retraining{{"a", 0, right[:3]}, {"b", 1, other[1:]}, {"c", 0, right}},
			refuted:   isDeterministic, epoch: 2, want: right,
		},
		"max_epochs has no influence": {
			prefix: true, workers: []string{"a", "b", "c"},
			trainings: []retraining{{"a", 0, right}, {"b", 0, right}, {"c", 0, short}},
			want:      right,
		},
		"max_epochs has an influence": {
			prefix: true, workers: []string{"a", "b", "c"},
			trainings: []retraining{{"a", 0, right}, {"b", 0, right}, {"c", 0, wrongly}, {"a", 0, wrongly}},
			refuted:   isPrefix, epoch: 2, want: right,
		},
		"max_epochs has an influence, with one machine": {
			prefix: true, workers: []string{"a1", "a2"},
			trainings: []retraining{{"a1", 0, right}, {"a2", 0, right}, {"a1", 0, wrongly}, {"a1", 0, wrongly}},
			refuted:   isPrefix, epoch: 2, want: right,
		},
		"max_epochs may have an influence": {
			prefix: true, workers: []string{"a", "b", "c"},
			trainings: []retraining{{"a", 0, right}, {"b", 0, right}, {"c", 0, wrongly}},
			disputed:  true, want: right,
		},
		"one worker says that max_epochs has an influence": {
			prefix: true, workers: []string{"a", "b", "c"},
			trainings: []retraining{{"a", 0, right}, {"b", 0, right}, {"c", 0, wrongly}, {"b", 0, short}},
			wrong:     []string{"c"}, want: right,
		},
		"it differs only where max_epochs is checked": {
			prefix: true, workers: []string{"a1", "a2"},
			trainings: []retraining{{"a1", 0, right}, {"a2", 0, right}, {"a1", 0, wrongly}, {"a2", 0, []float64{1, 8}}},
			refuted:   isDeterministic, epoch: 2, want: right,
		},
		"it is not deterministic, and max_epochs is not checked": {
			prefix: true, workers: []string{"a1", "a2"},
			trainings: []retraining{{"a1", 0, right}, {"a2", 0, other}},
			refuted:   isDeterministic, epoch: 2, want: right,
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDeclared(t, test.prefix, test.workers...)
			for _, its := range test.trainings {
				d.train(its.worker, its.after, its.values...)
			}
			run, study := d.run(), d.study("s")
			losses, err := d.store.Snapshot().Losses(nil, "s", "a")
			ok(t, err)
			if got := losses.Metrics["acc"].Values; !slices.Equal(got, test.want) {
				t.Errorf("recorded are %v, want %v", got, test.want)
			}
			if got := d.wrong(); !slices.Equal(got, test.wrong) {
				t.Errorf("wrong are %v, want %v", got, test.wrong)
			}
			if (run.Dispute != nil) != test.disputed {
				t.Errorf("disputed: %v", run.Dispute)
			}
			if test.refuted == 0 {
				if len(study.Refuted) > 0 {
					t.Errorf("refuted: %v", study.Refuted)
				}
				return
			}
			if len(study.Refuted) != 1 || study.Refuted[0].Declaration != test.refuted || study.Refuted[0].Epoch != test.epoch {
				t.Fatalf("refuted: %v, want %v at epoch %d", study.Refuted, test.refuted, test.epoch)
			}
			if study.State != lifecycle.StudyCompleted || run.State != lifecycle.RunSucceeded || len(run.Failures) > 3 {
				t.Errorf("the study is %v, the run %v", study, run)
			}
			values := map[float64]bool{}
			for _, its := range study.Refuted[0].Trainings {
				values[its.Values["acc"]] = true
			}
			if len(values) < 2 {
				t.Errorf("no values differ: %v", study.Refuted[0])
			}
			if mustHash(t, restoredFrom(t, d.store).Snapshot()) != mustHash(t, d.store.Snapshot()) {
				t.Error("another store is restored")
			}
		})
	}
}

// restoredFrom is a store that is read from another one's snapshot.
func restoredFrom(t *testing.T, store *Store) *Store {
	t.Helper()
	var written bytes.Buffer
	_, err := store.Snapshot().WriteTo(&written)
	ok(t, err)
	restored := newStore(t)
	ok(t, restored.Restore(&written))
	return restored
}

// What a refuted program's study has is not shared, before and after a restart, and studies that have had it are named.
func TestRefutedIsNotShared(t *testing.T) {
	d := newDeclared(t, true, "a1", "a2")
	d.train("a1", 0, 1, 2, 3, 4)
	runs := map[string][]uint32{"a": {2, 4}}
	ownStudy(t, d.store, d.next(), "before", d.spec, runs)
	if study := d.study("before"); study.Progress.EpochsShared != 4 {
		t.Fatalf("before: %v", study)
	}
	d.train("a2", 0, 1, 2, 3, 5)
	if refuted := d.study("s").Refuted; len(refuted) != 1 || !slices.Equal(refuted[0].Studies, []string{"before"}) {
		t.Fatalf("refuted: %v", refuted)
	}
	for _, store := range []*Store{d.store, restoredFrom(t, d.store)} {
		for _, study := range []string{"s", "before"} {
			if its, err := store.Snapshot().relativesOf(study); its != nil || err != nil {
				t.Errorf("study %s is still related: %v, %v", study, its, err)
			}
		}
	}
	ok(t, d.store.DeleteStudy(d.next(), "before", 0, 0))
	for _, store := range []*Store{restoredFrom(t, d.store), d.store} {
		ownStudy(t, store, d.next(), "after", d.spec, runs)
		study, err := store.Snapshot().Study(nil, "after")
		ok(t, err)
		if study.Progress.EpochsShared != 0 {
			t.Errorf("after: %v", study)
		}
		if run := knownOf(t, store.Snapshot(), &trellisv1.Run{Id: "a"}); run != nil {
			t.Errorf("a plan finds %v", run)
		}
	}
}

// Weights of a run that has succeeded are kept although its audit differs: nobody was wrong.
func TestWeightsOfARefutedProgramAreKept(t *testing.T) {
	d := newDeclared(t, false, "a", "b", "c")
	attempt := grant1(t, d.store, d.next(), "s", "a", "a")
	ok(t, d.record(ownEntry("s", "a", attempt, 1, map[string][]float64{"acc": {1, 2, 3, 4}})))
	ok(t, d.record(checkpointEntry("s", "a", attempt, 4, digest("a"))))
	ok(t, d.record(stageEntry("s", "a", attempt, 4)))
	d.train("b", 0, 5)
	d.train("c", 0, 6)
	if run := d.run(); len(run.Checkpoints) != 1 || len(d.study("s").Refuted) != 1 {
		t.Errorf("the run: %v, the study: %v", run, d.study("s"))
	}
}

// The other audits of a study end, and workers that were blamed before are not any more.
func TestARefutationAcquits(t *testing.T) {
	d := newDeclared(t, false, "a", "b", "c")
	ownStudy(t, d.store, d.next(), "t", d.spec, map[string][]uint32{"b": {1}, "c": {1}})
	end := func(id, worker string, value float64) error {
		attempt := grant1(t, d.store, d.next(), "t", id, worker)
		if err := d.record(ownEntry("t", id, attempt, 1, map[string][]float64{"acc": {value}})); err != nil {
			return err
		}
		return d.record(stageEntry("t", id, attempt, 1))
	}
	ok(t, end("b", "a", 1))
	_ = end("b", "b", 2)
	ok(t, end("b", "c", 1))
	worker, err := d.store.Snapshot().Worker(nil, "b")
	ok(t, err)
	if worker.Wrong == nil || len(d.study("t").Suspects) != 1 {
		t.Fatalf("the odd worker: %v", worker)
	}
	d.worker("d", lifecycle.WorkerReady)
	ok(t, end("c", "a", 1))
	_ = end("c", "c", 2)
	held := grant1(t, d.store, d.next(), "t", "c", "d")
	if err := d.record(ownEntry("t", "c", held, 1, map[string][]float64{"acc": {3}})); !errors.Is(err, ErrConflict) {
		t.Errorf("the third: %v", err)
	}
	worker, err = d.store.Snapshot().Worker(nil, "b")
	ok(t, err)
	study := d.study("t")
	if worker.Wrong != nil || len(study.Suspects) > 0 || len(study.Refuted) != 1 || study.Progress.AuditsDue > 0 ||
		study.State != lifecycle.StudyCompleted {
		t.Errorf("the worker: %v, the study: %v", worker, study)
	}
}
