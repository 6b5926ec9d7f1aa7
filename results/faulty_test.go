package results

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"
	"testing"

	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/auditing"
	"trellis/results/grid"
	"trellis/results/lifecycle"
	"trellis/results/pruning"
	"trellis/results/trajectory"
)

// faults is a store whose workers really train, by a formula. One machine is faulty: now and then a bit flips in what
// one of its workers reports, or in its weights, and everything that follows from these is wrong.
type faults struct {
	store, replica *Store
	// listed lists the runs that follow from the specs of the others' studies. Nil: these list them too.
	listed   *pair
	index    uint64
	attempts map[uint64]*training
	// saved are the weights of checkpoints, by digest. flips counts faults: each has other consequences.
	saved map[string]*training
	flips uint64
	// calm ends the faults that are not a machine's own: lost workers, pauses.
	calm bool
}

// training is an attempt of a worker, or the weights that it has saved.
type training struct {
	study, run, worker string
	epoch              uint32
	// fault is what has flipped in the weights. 0: nothing.
	fault uint64
	// best is the lowest loss so far, which the test loss follows from.
	best float64
}

// faultyWorkers are on machines of two each. The workers of the first are faulty.
var faultyWorkers = []string{"a0", "a1", "b0", "b1", "c0", "c1", "d0", "d1"}

func machineOfFaulty(worker string) string { return worker[:1] }

// trueLoss is the loss of an epoch, and whether the run ends with it.
func trueLoss(run string, epoch uint32, fault uint64) (loss float64, ends bool) {
	hash := fnv.New64a()
	hash.Write([]byte(run))
	hash.Write(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, epoch), fault))
	sum := hash.Sum64()
	return float64(sum>>12)/float64(1<<52) + 1, epoch >= 2 && sum%7 == 0
}

func (f *faults) next() uint64 { f.index++; return f.index }

// both applies a command to the store and to its replica.
func (f *faults) both(t *rapid.T, apply func(*Store) error) error {
	f.next()
	got, replica := apply(f.store), apply(f.replica)
	if fmt.Sprint(got) != fmt.Sprint(replica) {
		t.Fatalf("command %d: %v, replica %v", f.index, got, replica)
	}
	if f.listed != nil {
		if err := apply(f.listed.listed); (err == nil) != (got == nil) {
			t.Fatalf("command %d: %v, of the listed one %v", f.index, got, err)
		}
	}
	return got
}

func (f *faults) mustDo(t *rapid.T, apply func(*Store) error) {
	if err := f.both(t, apply); err != nil {
		t.Fatalf("command %d: %v", f.index, err)
	}
}

func (f *faults) create(t *rapid.T, name string, spec *trellisv1.StudySpec, fresh bool, milestones ...uint32) {
	spec.Name = name
	if f.listed != nil {
		f.createIndexed(t, name, spec, fresh, milestones)
		return
	}
	var runs []*trellisv1.Run
	var trials []*trellisv1.Trial
	for i := range 5 {
		// In the form of true ids.
		run, its := testRun(fmt.Sprintf("%x%030d", 3*i+1, i), uint32(4+i), uint64(10*i), milestones...)
		runs, trials = append(runs, run), append(trials, its...)
	}
	f.mustDo(t, func(s *Store) error {
		return s.CreateListed(f.index, at(f.index), &trellisv1.Study{Name: name, Spec: spec, Fresh: fresh}, runs, trials)
	})
}

// createIndexed is create with runs that follow from the spec.
func (f *faults) createIndexed(t *rapid.T, name string, spec *trellisv1.StudySpec, fresh bool, milestones []uint32) {
	var epochs []int
	for _, milestone := range milestones {
		epochs = append(epochs, int(milestone))
	}
	spec.Model = "synthetic"
	spec.Grid = []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
		"latent_dim": trellisv1.AxisOf(4, 5, 6, 7, 8), "max_epochs": trellisv1.AxisOf(epochs...),
		"learning_rate": trellisv1.AxisOf(1), "weight_decay": trellisv1.AxisOf(0), "batch_size": trellisv1.AxisOf(64),
	}}}
	spec.Seeds = trellisv1.AxisOf(1)
	trials, runs, err := grid.Expand(spec, nil, "1", nil)
	if err != nil {
		t.Fatal(err)
	}
	study := &trellisv1.Study{Name: name, Spec: spec, Numerics: "1", Fresh: fresh}
	f.listed.specs[name] = spec
	f.mustDo(t, func(s *Store) error {
		if s == f.listed.listed {
			return s.CreateListed(f.index, at(f.index), study, runs, trials)
		}
		return s.CreateStudy(f.index, at(f.index), study)
	})
}

// assign grants a run as the dispatcher would, to any of the workers that may have it.
func (f *faults) assign(t *rapid.T) bool {
	snapshot := f.store.Snapshot()
	next, err := snapshot.NextRuns(nil, 9)
	ready, readyErr := snapshot.ReadyWorkers()
	if err != nil || readyErr != nil {
		t.Fatalf("%v, %v", err, readyErr)
	}
	good := slices.DeleteFunc(slices.Clone(ready), func(w *trellisv1.Worker) bool { return w.Wrong != nil })
	if len(good) > 0 {
		ready = good
	}
	for _, run := range next {
		able := slices.DeleteFunc(slices.Clone(ready), func(w *trellisv1.Worker) bool {
			return w.Runs >= w.Slots || run.Dispute != nil && !auditing.MayDecide(run.Dispute, w.Name, w.Machine, false)
		})
		if other := slices.DeleteFunc(slices.Clone(able), func(w *trellisv1.Worker) bool {
			return auditing.TrainedOn(run, w.Name, w.Machine)
		}); trajectory.AuditDue(run) && run.Dispute == nil && len(other) > 0 {
			able = other
		}
		if len(able) == 0 {
			continue
		}
		worker := rapid.SampledFrom(able).Draw(t, "worker").Name
		grants := []*trellisv1.Grant{{Study: run.Study, Run: run.Id, Worker: worker}}
		f.mustDo(t, func(s *Store) error { return s.Grant(f.index, at(f.index), grants)[0] })
		its := &training{study: run.Study, run: run.Id, worker: worker}
		if checkpoint := trajectory.LastCheckpoint(run); checkpoint != nil && !auditing.FromStart(run) {
			from := f.saved[checkpoint.Sha256]
			its.epoch, its.fault, its.best = from.epoch, from.fault, from.best
		}
		f.attempts[AttemptNumber(f.index, 0)] = its
		return true
	}
	return false
}

// flip is a new fault, or none.
func (f *faults) flip(t *rapid.T, worker string) uint64 {
	if machineOfFaulty(worker) != "a" || rapid.IntRange(0, 9).Draw(t, "flip") > 0 {
		return 0
	}
	f.flips++
	return f.flips
}

// train trains a run that is held for an epoch, and reports what has come of it.
func (f *faults) train(t *rapid.T) bool {
	snapshot := f.store.Snapshot()
	var held []uint64
	for attempt, its := range f.attempts {
		run, err := snapshot.Run(nil, its.study, its.run)
		if err != nil || run.Attempt != attempt {
			delete(f.attempts, attempt)
			continue
		}
		held = append(held, attempt)
	}
	if len(held) == 0 {
		return false
	}
	slices.Sort(held)
	attempt := rapid.SampledFrom(held).Draw(t, "attempt")
	its := f.attempts[attempt]
	study, err := snapshot.Study(nil, its.study)
	run, runErr := snapshot.Run(nil, its.study, its.run)
	if err != nil || runErr != nil {
		t.Fatalf("%v, %v", err, runErr)
	}
	until := pruning.Stage(study, run)
	if auditing.FromStart(run) {
		until = run.Parameters.MaxEpochs
	}
	_, ends := trueLoss(its.run, its.epoch, its.fault)
	if its.epoch > 0 && ends || its.epoch >= until {
		entry := stageEntry(its.study, its.run, attempt, its.epoch)
		if ends {
			entry = successEntry(its.study, its.run, attempt, its.epoch)
		}
		f.put(t, entry)
		delete(f.attempts, attempt)
		return true
	}
	if !f.calm && rapid.IntRange(0, 19).Draw(t, "interrupted") == 0 {
		f.put(t, failureEntry(its.study, its.run, attempt, trellisv1.FailureClass_FAILURE_CLASS_TRAINER, "it failed"))
		delete(f.attempts, attempt)
		return true
	}
	its.epoch++
	if fault := f.flip(t, its.worker); fault != 0 {
		its.fault = fault
	}
	loss, _ := trueLoss(its.run, its.epoch, its.fault)
	if its.best == 0 || loss < its.best {
		its.best = loss
	}
	if fault := f.flip(t, its.worker); fault != 0 {
		loss, _ = trueLoss(its.run, its.epoch, fault)
	}
	tests := map[uint32]float64{}
	if asked, err := snapshot.AskedEpochs(run); err != nil || slices.Contains(asked, its.epoch) {
		tests[its.epoch] = its.best + 1
		if fault := f.flip(t, its.worker); fault != 0 {
			tests[its.epoch] += float64(fault)
		}
	}
	losses := []float64{loss}
	f.put(t, columnEntry(its.study, its.run, attempt, its.epoch, losses, losses, tests))
	if fault := f.flip(t, its.worker); fault != 0 {
		its.fault = fault
	}
	if rapid.Bool().Draw(t, "save") {
		sha256 := fmt.Sprintf("%064x", len(f.saved)+1)
		f.saved[sha256] = &training{epoch: its.epoch, fault: its.fault, best: its.best}
		f.put(t, checkpointEntry(its.study, its.run, attempt, its.epoch, sha256))
	}
	return true
}

// put records an entry. What is refused ends the attempt, or is for an attempt that has ended.
func (f *faults) put(t *rapid.T, entry *trellisv1.RecordCommand_Entry) {
	_ = f.both(t, func(s *Store) error {
		return s.Record(f.index, at(f.index), trajectory.LatestRules, []*trellisv1.RecordCommand_Entry{entry})[0]
	})
}

func (f *faults) loseWorker(t *rapid.T) {
	name := rapid.SampledFrom(faultyWorkers).Draw(t, "worker")
	f.register(t, name, lifecycle.WorkerLost)
	f.register(t, name, lifecycle.WorkerReady)
}

func (f *faults) register(t *rapid.T, name string, state trellisv1.WorkerState) {
	f.mustDo(t, func(s *Store) error {
		return s.SetWorker(f.index, at(f.index), trajectory.LatestRules, &trellisv1.Worker{
			Name: name, State: state, Slots: 2, Machine: machineOfFaulty(name),
		})
	})
}

// disturb does to a study what its user may.
func (f *faults) disturb(t *rapid.T) {
	name := rapid.SampledFrom([]string{"s", "t"}).Draw(t, "study")
	switch rapid.IntRange(0, 4).Draw(t, "what") {
	case 0:
		_ = f.both(t, func(s *Store) error {
			return s.SetStudyState(f.index, at(f.index), name, lifecycle.StudyPaused)
		})
		_ = f.both(t, func(s *Store) error {
			return s.SetStudyState(f.index, at(f.index), name, lifecycle.StudyRunning)
		})
	case 1:
		_ = f.both(t, func(s *Store) error {
			_, err := s.RetryStudy(f.index, at(f.index), trajectory.LatestRules, name, rapid.Just(true).Draw(t, "pruned"))
			return err
		})
	case 2:
		study, err := f.store.Snapshot().Study(nil, name)
		if err != nil {
			return
		}
		run, trials := testRun(fmt.Sprintf("%x%030d", 1, 0), 4, 0, 9)
		trials[0].Index = study.Indices
		extension := Extension{
			Indices: study.Indices, NextIndices: study.Indices + 1, Runs: []*trellisv1.Run{run}, Trials: trials,
		}
		if f.listed != nil {
			extension = f.longer(t, study)
		}
		_ = f.both(t, func(s *Store) error {
			_, err := s.ExtendStudy(f.index, at(f.index), name, extension)
			return err
		})
	case 3:
		if rapid.IntRange(0, 3).Draw(t, "seldom") == 0 {
			_ = f.both(t, func(s *Store) error {
				return s.SetStudyState(f.index, at(f.index), "t", lifecycle.StudyCanceled)
			})
		}
	case 4:
		f.loseWorker(t)
	}
}

// longer adds a trial of 9 epochs to a run that follows from the spec, or a run with another seed.
func (f *faults) longer(t *rapid.T, study *trellisv1.Study) Extension {
	points := []*trellisv1.Parameters{{
		MaxEpochs: 9, Seed: rapid.Uint32Range(1, 2).Draw(t, "seed"), Values: trellisv1.ValuesOf(map[string]any{
			"latent_dim": 5, "learning_rate": 1, "weight_decay": 0, "batch_size": 64,
		}),
	}}
	trials, runs, next, err := grid.ExpandExtension(study, &trellisv1.ExtendStudyCommand{
		Study: study.Name, Indices: study.Indices, Points: points,
	})
	if err != nil {
		t.Fatal(err)
	}
	return Extension{Indices: study.Indices, NextIndices: next, Runs: runs, Trials: trials}
}

// check compares the store with its replica and with what it would be if it had been restored.
func (f *faults) check(t *rapid.T) {
	var data bytes.Buffer
	if _, err := f.store.Snapshot().WriteTo(&data); err != nil {
		t.Fatal(err)
	}
	if rapid.Bool().Draw(t, "restore") {
		if err := f.replica.Restore(bytes.NewReader(data.Bytes())); err != nil {
			t.Fatal(err)
		}
	}
	restored, err := New()
	if err == nil {
		err = restored.Restore(&data)
	}
	if err != nil {
		t.Fatal(err)
	}
	for what, other := range map[string]*Store{"replica": f.replica, "restored": restored} {
		want, err := f.store.Snapshot().Hash()
		got, otherErr := other.Snapshot().Hash()
		if got != want || err != nil || otherErr != nil {
			t.Fatalf("%s: hash %x, want %x (%v, %v)", what, got, want, err, otherErr)
		}
		for _, study := range []string{"s", "t"} {
			if got, want := rankedOf(t, other, study), rankedOf(t, f.store, study); !slices.Equal(got, want) {
				t.Fatalf("%s: study %s ranks %v, want %v", what, study, got, want)
			}
		}
	}
	checkIndexes(t, f.store.Snapshot())
	if f.listed != nil {
		f.listed.check(t)
	}
}

// rankedOf are the trials of a study with results, best first, each as its index and its objective. There is none twice.
func rankedOf(t *rapid.T, store *Store, study string) (texts []string) {
	ranked, err := store.Snapshot().Ranked(study)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint64]bool{}
	for trial := range ranked {
		if seen[trial.Index] {
			t.Fatalf("trial %d of study %s is ranked twice", trial.Index, study)
		}
		seen[trial.Index] = true
		texts = append(texts, fmt.Sprint(trial.Index, trial.GetObjective(), trial.GetEpochs(), trial.GetTestLoss()))
	}
	return texts
}

// TestFaultyWorkers: whatever one faulty machine reports, and whatever users do, a study all of whose runs are audited
// ends with the right losses, and no worker of another machine is called wrong.
func TestFaultyWorkers(t *testing.T) {
	drawFew(t)
	rapid.Check(t, func(rt *rapid.T) { testFaultyWorkers(t, rt, false) })
}

// TestFaultyWorkersIndexed: the same where runs follow from specs, which have the same answers as if they were listed.
func TestFaultyWorkersIndexed(t *testing.T) {
	drawFew(t)
	rapid.Check(t, func(rt *rapid.T) { testFaultyWorkers(t, rt, true) })
}

func testFaultyWorkers(tb *testing.T, t *rapid.T, indexed bool) {
	f := &faults{
		store: newStore(tb), replica: newStore(tb), attempts: map[uint64]*training{}, saved: map[string]*training{},
	}
	if indexed {
		f.listed = &pair{tb: tb, t: t, indexed: f.store, listed: newStore(tb), specs: map[string]*trellisv1.StudySpec{}}
	}
	for _, worker := range faultyWorkers {
		f.next()
		f.register(t, worker, lifecycle.WorkerReady)
	}
	spec := func() *trellisv1.StudySpec {
		spec := &trellisv1.StudySpec{Audit: rapid.SampledFrom([]float64{1, 1, 0.5, 0}).Draw(t, "audit")}
		if rapid.Bool().Draw(t, "prune") {
			spec.Pruning = ashaOf(2, 2)
		}
		return spec
	}
	f.create(t, "s", spec(), false, 3, 6)
	steps := rapid.IntRange(0, 60).Draw(t, "steps")
	for step := range steps {
		if step == steps/3 {
			f.create(t, "t", spec(), rapid.Bool().Draw(t, "fresh"), 2, 8)
		}
		switch rapid.IntRange(0, 9).Draw(t, "step") {
		case 0, 1, 2:
			f.assign(t)
		case 3:
			f.disturb(t)
		case 4:
			f.check(t)
		default:
			f.train(t)
		}
	}
	f.calm = true
	for f.assign(t) || f.train(t) {
		if f.index > 20_000 {
			t.Fatal("it does not end")
		}
	}
	f.check(t)
	f.checkAnswers(t)
}

func (f *faults) checkAnswers(t *rapid.T) {
	snapshot := f.store.Snapshot()
	workers, err := snapshot.Workers(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, worker := range workers {
		if worker.Wrong != nil && worker.Machine != "a" {
			run, err := snapshot.Run(nil, worker.Wrong.Study, worker.Wrong.Run)
			t.Errorf("worker %s is wrong about %v: %v, %v", worker.Name, worker.Wrong, run, err)
		}
	}
	studies, err := snapshot.Studies(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, study := range studies {
		if study.State == lifecycle.StudyCanceled {
			continue
		}
		if study.State != lifecycle.StudyCompleted {
			t.Errorf("study %s is %v: %v", study.Name, study.State, study.Progress)
		}
		members, err := snapshot.touchedOf(study.Name)
		if err != nil {
			t.Fatal(err)
		}
		for member := range members {
			run := member.Run
			if run.Dispute != nil && run.State != lifecycle.RunFailed {
				t.Errorf("run %s of %s is disputed: %v", run.Id, study.Name, run)
			}
			if study.Spec.Audit < 1 || run.State != lifecycle.RunSucceeded ||
				run.Audit.GetState() == trellisv1.AuditState_AUDIT_STATE_GIVEN_UP {
				continue
			}
			for i, loss := range member.Losses.ValidationLoss {
				want, ends := trueLoss(run.Id, uint32(i+1), 0)
				last := i+1 == len(member.Losses.ValidationLoss)
				if loss != want || ends != last && i+1 != int(run.Parameters.MaxEpochs) {
					t.Errorf("epoch %d of %d of run %s of %s: loss %v, want %v; the last: %v\n%v", i+1, run.Epochs, run.Id,
						study.Name, loss, want, ends, run)
				}
			}
		}
	}
}
