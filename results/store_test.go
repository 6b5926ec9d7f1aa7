package results

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
)

// TestModel gives the same random commands to two stores and to the model, and compares all that can be read.
func TestModel(t *testing.T) {
	rounds := 10
	if testing.Short() || raceDetector {
		rounds = 1
	}
	for round := range rounds {
		t.Run(fmt.Sprint(round), testModel)
	}
}

func testModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newStoreMachine(t)
		m.create(rt)
		m.apply(rt, &trellisv1.Worker{Name: "w", State: workerReady, Slots: 3})
		m.grant(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"":        m.check,
			"create":  m.create,
			"study":   m.setStudy,
			"delete":  m.deleteStudy,
			"worker":  m.setWorker,
			"grant":   m.grant,
			"grant 2": m.grant,
			"record":  m.record,
			"batch":   m.record,
			"more":    m.record,
			"report":  m.reportNext,
			"next":    m.reportNext,
			"success": m.succeedNext,
			"lose":    m.loseHolder,
		})
		for i, snapshot := range m.snapshots {
			if mustHash(t, snapshot) != m.hashes[i] {
				rt.Fatalf("a later write has changed snapshot %d", i)
			}
		}
	})
}

// storeMachine drives two stores and a model.
type storeMachine struct {
	index      uint64
	store      *Store
	replica    *Store
	model      *model
	snapshots  []*Snapshot
	hashes     [][32]byte
	lastDigest [32]byte
}

func newStoreMachine(t testing.TB) *storeMachine {
	return &storeMachine{index: 10, store: newStore(t), replica: newStore(t), model: newModel()}
}

// refusals are all the errors there are to tell apart.
var refusals = []error{
	ErrNotFound, ErrExists, ErrInvalid, ErrIllegalMove, ErrNoAnswer, ErrStale, ErrConflict, ErrGap,
}

func sameRefusal(got, want error) bool {
	for _, refusal := range refusals {
		if errors.Is(got, refusal) != errors.Is(want, refusal) {
			return false
		}
	}
	return (got == nil) == (want == nil)
}

func (m *storeMachine) agree(t *rapid.T, what string, got, replica, want error) {
	t.Helper()
	if !sameRefusal(got, want) || fmt.Sprint(got) != fmt.Sprint(replica) {
		t.Fatalf("%s at index %d: the store says %v, its replica %v, the model %v", what, m.index, got, replica, want)
	}
}

var (
	studyNames  = rapid.SampledFrom([]string{"a", "ab", "b"})
	workerNames = rapid.SampledFrom([]string{"w", "w1", "x"})
	someLosses  = []float64{0.5, 0.25, 0.25, 0, math.Copysign(0, -1), math.NaN(), math.Inf(1), math.Inf(-1), 1e-300, 3}
)

func (m *storeMachine) create(t *rapid.T) {
	m.index++
	study := &trellisv1.Study{Name: studyNames.Draw(t, "study"), Spec: &trellisv1.StudySpec{Model: "synthetic"}}
	var runs []*trellisv1.Run
	var trials []*trellisv1.Trial
	first := uint64(0)
	for i := range rapid.IntRange(1, 4).Draw(t, "runs") {
		milestones := rapid.SliceOfNDistinct(rapid.Uint32Range(1, 5), 1, 3, rapid.ID).Draw(t, "milestones")
		slices.Sort(milestones)
		run, its := testRun(fmt.Sprintf("run%d", i), rapid.Uint32Range(1, 3).Draw(t, "latent"), first, milestones...)
		runs, trials = append(runs, run), append(trials, its...)
		first += uint64(len(its)) + rapid.Uint64Range(0, 1).Draw(t, "gap")
	}
	cloneRuns, cloneTrials := cloneAll(runs), cloneAll(trials)
	err := m.store.CreateStudy(m.index, at(m.index), study, runs, trials)
	replicaErr := m.replica.CreateStudy(m.index, at(m.index), study, runs, trials)
	m.agree(t, "create", err, replicaErr, m.model.create(m.index, study.Name, cloneRuns, cloneTrials))
	scribble(study)
	for _, run := range runs {
		scribble(run)
	}
	for _, trial := range trials {
		scribble(trial)
	}
}

func cloneAll[M proto.Message](messages []M) []M {
	clones := make([]M, len(messages))
	for i, message := range messages {
		clones[i] = proto.CloneOf(message)
	}
	return clones
}

func (m *storeMachine) setStudy(t *rapid.T) {
	m.index++
	name := studyNames.Draw(t, "study")
	state := rapid.SampledFrom([]trellisv1.StudyState{
		studyRunning, studyRunning, studyPaused, studyCanceled, studyCompleted,
	}).Draw(t, "state")
	err := m.store.SetStudyState(m.index, at(m.index), name, state)
	replicaErr := m.replica.SetStudyState(m.index, at(m.index), name, state)
	m.agree(t, "set study", err, replicaErr, m.model.setStudy(m.index, name, state))
}

func (m *storeMachine) deleteStudy(t *rapid.T) {
	if rapid.IntRange(0, 3).Draw(t, "seldom") > 0 {
		t.Skip()
	}
	m.index++
	name := studyNames.Draw(t, "study")
	err := m.store.DeleteStudy(m.index, name)
	m.agree(t, "delete", err, m.replica.DeleteStudy(m.index, name), m.model.deleteStudy(name))
}

func (m *storeMachine) setWorker(t *rapid.T) {
	m.apply(t, &trellisv1.Worker{
		Name: workerNames.Draw(t, "worker"),
		State: rapid.SampledFrom([]trellisv1.WorkerState{
			workerReady, workerReady, workerReady, workerDraining, workerLost, workerGone, workerUnknown,
		}).Draw(t, "state"),
		Slots: rapid.Uint32Range(0, 3).Draw(t, "slots"),
	})
}

// loseHolder loses a worker that holds a run, and lets it come back.
func (m *storeMachine) loseHolder(t *rapid.T) {
	runs, _ := m.model.allRuns()
	runs = slices.DeleteFunc(runs, func(r *modelRun) bool { return r.state != runLeased })
	if len(runs) == 0 {
		t.Skip()
	}
	worker := rapid.SampledFrom(runs).Draw(t, "run").worker
	m.apply(t, &trellisv1.Worker{Name: worker, State: workerLost})
	m.apply(t, &trellisv1.Worker{Name: worker, State: workerReady, Slots: 3})
}

func (m *storeMachine) apply(t *rapid.T, worker *trellisv1.Worker) {
	m.index++
	err := m.store.SetWorker(m.index, at(m.index), worker)
	replicaErr := m.replica.SetWorker(m.index, at(m.index), worker)
	m.agree(t, "set worker", err, replicaErr, m.model.setWorker(m.index, worker))
	m.model.complete()
	scribble(worker)
}

func (m *storeMachine) grant(t *rapid.T) {
	m.index++
	study, run := studyNames.Draw(t, "study"), fmt.Sprintf("run%d", rapid.IntRange(0, 4).Draw(t, "run"))
	if next := m.model.next(); next != nil && rapid.Bool().Draw(t, "next") {
		run = next.Id
		runs, studies := m.model.allRuns()
		study = studies[slices.Index(runs, next)].name
	}
	worker := workerNames.Draw(t, "worker")
	err := m.store.Grant(m.index, at(m.index), study, run, worker)
	replicaErr := m.replica.Grant(m.index, at(m.index), study, run, worker)
	m.agree(t, "grant", err, replicaErr, m.model.grant(m.index, study, run, worker))
}

// reportNext reports the next epoch of a run that is held.
func (m *storeMachine) reportNext(t *rapid.T) {
	study, run := m.drawHeld(t)
	epoch := uint32(len(run.train) + 1)
	m.put(t, []*trellisv1.RecordCommand_Entry{m.drawReport(t, study, run, run.attempt, epoch)})
}

func (m *storeMachine) succeedNext(t *rapid.T) {
	study, run := m.drawHeld(t)
	m.put(t, []*trellisv1.RecordCommand_Entry{successEntry(study, run.Id, run.attempt, uint32(len(run.train)))})
}

func (m *storeMachine) drawHeld(t *rapid.T) (string, *modelRun) {
	runs, studies := m.model.allRuns()
	var held []int
	for i, run := range runs {
		if run.state == runLeased {
			held = append(held, i)
		}
	}
	if len(held) == 0 {
		t.Skip()
	}
	i := rapid.SampledFrom(held).Draw(t, "run")
	return studies[i].name, runs[i]
}

// drawReport draws losses that are the same for an epoch of a run, except now and then.
func (m *storeMachine) drawReport(t *rapid.T, study string, run *modelRun, attempt uint64, epoch uint32) *trellisv1.RecordCommand_Entry {
	train, validation := rapid.SampledFrom(someLosses).Draw(t, "train"), rapid.SampledFrom(someLosses).Draw(t, "validation")
	var test *float64
	if rapid.Bool().Draw(t, "has test") {
		test = proto.Float64(rapid.SampledFrom(someLosses).Draw(t, "test"))
	}
	if i := int(epoch) - 1; i >= 0 && i < len(run.train) && rapid.IntRange(0, 4).Draw(t, "deviate") > 0 {
		train, validation = run.train[i], run.validation[i]
		if recorded, ok := run.test[epoch]; ok && test != nil {
			test = &recorded
		}
	}
	return reportEntry(study, run.Id, attempt, epoch, train, validation, test)
}

func (m *storeMachine) record(t *rapid.T) {
	runs, studies := m.model.allRuns()
	if len(runs) == 0 {
		t.Skip()
	}
	var entries []*trellisv1.RecordCommand_Entry
	for range rapid.IntRange(1, 4).Draw(t, "entries") {
		i := rapid.IntRange(0, len(runs)-1).Draw(t, "run")
		run, study := runs[i], studies[i].name
		attempt := run.attempt
		if rapid.IntRange(0, 5).Draw(t, "stale") == 0 {
			attempt = rapid.Uint64Range(0, m.index).Draw(t, "attempt")
		}
		epoch := rapid.Uint32Range(0, run.Parameters.MaxEpochs+1).Draw(t, "epoch")
		var entry *trellisv1.RecordCommand_Entry
		switch rapid.IntRange(0, 6).Draw(t, "kind") {
		case 0:
			entry = successEntry(study, run.Id, attempt, epoch)
		case 1:
			class := trellisv1.FailureClass(rapid.IntRange(0, 5).Draw(t, "class"))
			entry = failureEntry(study, run.Id, attempt, class, "it failed")
		case 2:
			entry = returnEntry(study, run.Id, attempt)
		default:
			entry = m.drawReport(t, study, run, attempt, epoch)
		}
		entries = append(entries, entry)
	}
	m.put(t, entries)
}

func (m *storeMachine) put(t *rapid.T, entries []*trellisv1.RecordCommand_Entry) {
	m.index++
	want := make([]error, len(entries))
	for i, entry := range entries {
		if report := entry.GetReport(); report != nil {
			want[i] = m.model.report(m.index, report)
		} else {
			want[i] = m.model.outcome(m.index, entry.GetOutcome())
		}
	}
	m.model.complete()
	got, replica := m.store.Record(m.index, at(m.index), entries), m.replica.Record(m.index, at(m.index), entries)
	for i := range entries {
		m.agree(t, fmt.Sprintf("entry %d: %v", i, entries[i]), got[i], replica[i], want[i])
		scribble(entries[i])
	}
}

// check compares the stores with the model.
func (m *storeMachine) check(t *rapid.T) {
	snapshot := m.store.Snapshot()
	hash, err := snapshot.Hash()
	replicaHash, replicaErr := m.replica.Snapshot().Hash()
	if err != nil || replicaErr != nil || hash != replicaHash {
		t.Fatalf("the replicas differ: %x, %v and %x, %v", hash, err, replicaHash, replicaErr)
	}
	if hash != m.lastDigest {
		m.snapshots, m.hashes, m.lastDigest = append(m.snapshots, snapshot), append(m.hashes, hash), hash
	}
	checkIndexes(t, snapshot)
	m.checkWorkers(t, snapshot)
	studies, err := snapshot.Studies(nil)
	if err != nil || len(studies) != len(m.model.studies) {
		t.Fatalf("%d studies and error %v, want %d", len(studies), err, len(m.model.studies))
	}
	for i, want := range m.model.studies {
		m.checkStudy(t, snapshot, studies[i], want)
	}
	next, err := snapshot.NextRun(nil)
	want := m.model.next()
	if err != nil || (next == nil) != (want == nil) || next != nil && (next.Id != want.Id || next.Parameters.MaxEpochs != want.Parameters.MaxEpochs) {
		t.Fatalf("next run %v and error %v, want %v", next, err, want)
	}
}

func (m *storeMachine) checkStudy(t *rapid.T, snapshot *Snapshot, got *trellisv1.Study, want *modelStudy) {
	if got.Name != want.name || got.State != want.state {
		t.Fatalf("study %s is %v, want %s and %v", got.Name, got.State, want.name, want.state)
	}
	if ended := want.state == studyCompleted || want.state == studyCanceled; ended != (got.EndTime != nil) {
		t.Fatalf("study %s is %v and ended at %v", got.Name, got.State, got.EndTime)
	}
	if progress := m.model.progress(want); !proto.Equal(got.Progress, progress) {
		t.Fatalf("progress of study %s:\n got %v\nwant %v", got.Name, got.Progress, progress)
	}
	var changed uint64
	for _, run := range want.runs {
		m.checkRun(t, snapshot, want, run)
		changed = max(changed, run.changed)
	}
	if got.ModifyIndex < changed {
		t.Fatalf("study %s changed at %d, a run of it at %d", got.Name, got.ModifyIndex, changed)
	}
	m.checkChanges(t, snapshot, want)
	m.checkTrials(t, snapshot, want)
}

func (m *storeMachine) checkRun(t *rapid.T, snapshot *Snapshot, study *modelStudy, want *modelRun) {
	got, err := snapshot.Run(nil, study.name, want.Id)
	if err != nil {
		t.Fatal(err)
	}
	attempt, worker := want.attempt, want.worker
	if want.state != runLeased {
		attempt, worker = 0, ""
	}
	if got.State != want.state || got.Attempt != attempt || got.Worker != worker || int(got.Epochs) != len(want.train) ||
		len(got.Failures) != len(want.failures) || got.ModifyIndex != want.changed || (got.Error != "") != (want.state == runFailed) {
		t.Fatalf("run:\n got %v\nwant %+v", got, want)
	}
	losses, err := snapshot.Losses(nil, study.name, want.Id)
	if len(want.train) == 0 {
		if !errors.Is(err, ErrNotFound) {
			t.Fatalf("losses of a run without epochs: %v, %v", losses, err)
		}
		return
	}
	wanted := &trellisv1.Losses{
		Study: study.name, Run: want.Id, TrainLoss: want.train, ValidationLoss: want.validation, TestLoss: want.test,
	}
	if err != nil || !proto.Equal(losses, wanted) {
		t.Fatalf("losses and error %v:\n got %v\nwant %v", err, losses, wanted)
	}
}

func (m *storeMachine) checkChanges(t *rapid.T, snapshot *Snapshot, study *modelStudy) {
	since := rapid.Uint64Range(0, m.index).Draw(t, "since")
	changed, err := snapshot.RunsChangedSince(study.name, since)
	want := 0
	for _, run := range study.runs {
		if run.changed > since {
			want++
		}
	}
	if err != nil || len(changed) != want ||
		!slices.IsSortedFunc(changed, func(a, b *trellisv1.Run) int { return int(a.ModifyIndex) - int(b.ModifyIndex) }) {
		t.Fatalf("runs changed since %d: %v and error %v, want %d", since, changed, err, want)
	}
}

func (m *storeMachine) checkTrials(t *rapid.T, snapshot *Snapshot, study *modelStudy) {
	list, err := snapshot.ListTrials(&trellisv1.ListTrialsRequest{Study: study.name})
	if err != nil || len(list.Trials) != len(study.trials) || int(list.Total) != len(study.trials) {
		t.Fatalf("%v and error %v, want %d trials", list, err, len(study.trials))
	}
	var ranked []*trellisv1.Trial
	for i, trial := range study.trials {
		want, got := m.model.trial(study.name, trial), proto.CloneOf(list.Trials[i])
		if (got.Error != "") != (got.State == trialFailed) {
			t.Fatalf("a trial is %v with the error %q", got.State, got.Error)
		}
		got.Error = ""
		if !proto.Equal(got, want) {
			t.Fatalf("trial:\n got %v\nwant %v", got, want)
		}
		if want.State == trialSucceeded {
			ranked = append(ranked, want)
		}
	}
	slices.SortFunc(ranked, Compare)
	best, err := snapshot.GetBestTrial(&trellisv1.GetBestTrialRequest{Study: study.name})
	switch {
	case len(ranked) == 0:
		if !errors.Is(err, ErrNoAnswer) {
			t.Fatalf("best of no trials: %v, %v", best, err)
		}
	case err != nil || best.Trial.Index != ranked[0].Index:
		t.Fatalf("best trial %v and error %v, want %v", best.GetTrial(), err, ranked[0])
	case (best.RunnerUp == nil) != (len(ranked) == 1) || best.RunnerUp != nil && best.RunnerUp.Index != ranked[1].Index:
		t.Fatalf("runner-up %v of %v", best.RunnerUp, ranked)
	}
}

func (m *storeMachine) checkWorkers(t *rapid.T, snapshot *Snapshot) {
	workers, err := snapshot.Workers(nil)
	if err != nil || len(workers) != len(m.model.workers) {
		t.Fatalf("%d workers and error %v, want %d", len(workers), err, len(m.model.workers))
	}
	for _, got := range workers {
		want, held := m.model.workers[got.Name], m.model.held(got.Name)
		if got.State != want.state || got.Slots != want.slots || int(got.Runs) != held {
			t.Fatalf("worker %v, want %+v with %d runs", got, want, held)
		}
		runs, err := snapshot.RunsHeldBy(nil, got.Name)
		if err != nil || len(runs) != held {
			t.Fatalf("worker %s holds %v and error %v, want %d", got.Name, runs, err, held)
		}
	}
}

// TestHash: every row of every table counts, and nothing else does.
func TestHash(t *testing.T) {
	store := newListStore(t)
	hash := mustHash(t, store.Snapshot())
	if again := mustHash(t, newListStore(t).Snapshot()); again != hash {
		t.Errorf("the same writes to another store hash to %x, not %x", again, hash)
	}
	for table := range newSchema().Tables {
		txn := store.db.Txn(true)
		row, err := first[proto.Message](txn, nil, table, indexID+"_prefix", nil)
		ok(t, err)
		ok(t, txn.Delete(table, row))
		if mustHash(t, &Snapshot{txn}) == hash {
			t.Errorf("without a row of %s the hash is the same", table)
		}
		txn.Abort()
	}
	if mustHash(t, store.Snapshot()) != hash {
		t.Error("what was not committed has changed the hash")
	}
}

// TestReadersMeanwhile is for the race detector: readers of whatever age, while the log goes on.
func TestReadersMeanwhile(t *testing.T) {
	store := newListStore(t)
	var readers sync.WaitGroup
	for range 4 {
		snapshot := store.Snapshot()
		readers.Go(func() {
			for range 20 {
				if _, err := snapshot.Hash(); err != nil {
					t.Error(err)
				}
				list, err := store.Snapshot().ListTrials(&trellisv1.ListTrialsRequest{
					Study: "s", OrderBy: "-objective", Filter: "index < 7", Losses: true,
				})
				if err != nil {
					t.Error(err)
				}
				proto.CloneOf(list)
			}
		})
	}
	for index := uint64(20); index < 220; index += 2 {
		ok(t, store.Grant(index, at(index), "s", "pending", "w"))
		record(t, store, index+1, reportEntry("s", "pending", index, 1, 1, 1, nil), returnEntry("s", "pending", index))
	}
	record(t, store, 300, reportEntry("s", "running", 6, 2, 1, 1, nil), reportEntry("s", "running", 6, 3, 1, 1, nil))
	readers.Wait()
}
