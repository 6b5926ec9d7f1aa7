package results

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/pruning"
	"trellis/results/trajectory"
)

// firstIndex is where a machine's log begins.
const firstIndex = 10

// storeMachine drives two stores and a model.
type storeMachine struct {
	index      uint64
	store      *Store
	replica    *Store
	model      *model
	snapshots  []*Snapshot
	hashes     [][32]byte
	lastDigest [32]byte
	// truth are the losses of each run's epochs, in whatever study. Workers report others only if machines are faulty.
	truth  map[string][]epochLosses
	faulty bool
}

// epochLosses are what an epoch gives: the losses and, if the run's model reports it, the accuracy on the validation
// images.
type epochLosses struct{ train, validation, accuracy float64 }

// reportsMetrics says whether the model of a run reports metrics.
func reportsMetrics(id string) bool { return (id[len(id)-1]-'0')%2 == 0 }

// addMetrics adds metrics to the reports of epochs of a run that has them. The accuracy on the training images is minus
// the other.
func addMetrics(run *modelRun, reports *trellisv1.Reports, epochs []epochLosses) {
	if !reportsMetrics(run.Id) {
		return
	}
	train, validation := &trellisv1.Series{}, &trellisv1.Series{}
	for _, epoch := range epochs {
		train.Values, validation.Values = append(train.Values, -epoch.accuracy), append(validation.Values,
			epoch.accuracy)
	}
	reports.Metrics = map[string]*trellisv1.Series{"train_accuracy": train, "validation_accuracy": validation}
}

func newStoreMachine(t testing.TB) *storeMachine {
	return &storeMachine{
		index: firstIndex, store: newStore(t), replica: newStore(t), model: newModel(),
		truth: map[string][]epochLosses{},
	}
}

// refusals are all the errors there are to tell apart.
var refusals = []error{
	ErrNotFound, ErrExists, ErrStudyChanged, ErrInvalid, ErrIllegalMove, ErrNoAnswer, ErrStale, ErrConflict, ErrGap,
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
	study := &trellisv1.Study{Name: studyNames.Draw(t, "study"), Spec: &trellisv1.StudySpec{
		Model: "synthetic", Pruning: drawPruning(t),
	}}
	if rapid.IntRange(0, 5).Draw(t, "settle") == 0 {
		study.Spec.Settle = &trellisv1.Settle{MaxSeeds: 3}
	}
	study.Fresh = rapid.IntRange(0, 4).Draw(t, "fresh") == 0
	created := &modelStudy{
		name: study.Name, fresh: study.Fresh, pruning: proto.CloneOf(study.Spec.Pruning),
		settle: study.Spec.Settle != nil,
	}
	var runs []*trellisv1.Run
	var trials []*trellisv1.Trial
	first := uint64(0)
	for i := range rapid.IntRange(1, 6).Draw(t, "runs") {
		milestones := rapid.SliceOfNDistinct(rapid.Uint32Range(1, 5), 1, 3, rapid.ID).Draw(t, "milestones")
		slices.Sort(milestones)
		run, its := testRun(fmt.Sprintf("run%d", i), rapid.Uint32Range(1, 3).Draw(t, "latent"), first, milestones...)
		runs, trials = append(runs, run), append(trials, its...)
		first += uint64(len(its)) + rapid.Uint64Range(0, 1).Draw(t, "gap")
	}
	cloneRuns, cloneTrials := cloneAll(runs), cloneAll(trials)
	err := m.store.CreateListed(m.index, at(m.index), study, runs, trials)
	replicaErr := m.replica.CreateListed(m.index, at(m.index), study, runs, trials)
	m.agree(t, "create", err, replicaErr, m.model.create(m.index, created, cloneRuns, cloneTrials))
	m.model.follow(m.index)
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
		lifecycle.StudyRunning, lifecycle.StudyRunning, lifecycle.StudyPaused, lifecycle.StudyCanceled,
		lifecycle.StudyCompleted,
	}).Draw(t, "state")
	err := m.store.SetStudyState(m.index, at(m.index), name, state)
	replicaErr := m.replica.SetStudyState(m.index, at(m.index), name, state)
	m.agree(t, "set study", err, replicaErr, m.model.setStudy(m.index, name, state))
	m.model.follow(m.index)
}

func (m *storeMachine) deleteStudy(t *rapid.T) {
	if rapid.IntRange(0, 3).Draw(t, "seldom") > 0 {
		t.Skip()
	}
	m.index++
	name := studyNames.Draw(t, "study")
	err := m.store.DeleteStudy(m.index, name, 0, 0)
	m.agree(t, "delete", err, m.replica.DeleteStudy(m.index, name, 0, 0), m.model.deleteStudy(name))
}

func (m *storeMachine) setWorker(t *rapid.T) {
	m.apply(t, &trellisv1.Worker{
		Name: workerNames.Draw(t, "worker"),
		State: rapid.SampledFrom([]trellisv1.WorkerState{
			lifecycle.WorkerReady, lifecycle.WorkerReady, lifecycle.WorkerReady, lifecycle.WorkerDraining,
			lifecycle.WorkerLost, lifecycle.WorkerGone, lifecycle.WorkerUnknown,
		}).Draw(t, "state"),
		Slots:   rapid.Uint32Range(0, 3).Draw(t, "slots"),
		Machine: rapid.SampledFrom([]string{"", "", "host", "other"}).Draw(t, "machine"),
	})
}

// loseHolder loses a worker that holds a run, and lets it come back.
func (m *storeMachine) loseHolder(t *rapid.T) {
	worker := m.drawHeld(t).worker
	m.apply(t, &trellisv1.Worker{Name: worker, State: lifecycle.WorkerLost})
	m.apply(t, &trellisv1.Worker{Name: worker, State: lifecycle.WorkerReady, Slots: 3})
}

func (m *storeMachine) apply(t *rapid.T, worker *trellisv1.Worker) {
	m.index++
	rules := drawRules(t)
	m.model.rules = rules
	err := m.store.SetWorker(m.index, at(m.index), rules, worker)
	replicaErr := m.replica.SetWorker(m.index, at(m.index), rules, worker)
	m.agree(t, "set worker", err, replicaErr, m.model.setWorker(m.index, worker))
	m.model.follow(m.index)
	scribble(worker)
}

// grant leases some runs to some workers in one command, often the ones that are next.
func (m *storeMachine) grant(t *rapid.T) {
	m.index++
	next := m.model.next()
	var grants []*trellisv1.Grant
	for range rapid.IntRange(1, 4).Draw(t, "grants") {
		grant := &trellisv1.Grant{
			Study: studyNames.Draw(t, "study"), Run: fmt.Sprintf("run%d", rapid.IntRange(0, 6).Draw(t, "run")),
			Worker: workerNames.Draw(t, "worker"),
		}
		if len(next) > 0 && rapid.Bool().Draw(t, "next") {
			grant.Study, grant.Run = next[0].study, next[0].Id
			next = next[1:]
		}
		grants = append(grants, grant)
	}
	m.grantAll(t, grants)
}

func (m *storeMachine) grantAll(t *rapid.T, grants []*trellisv1.Grant) {
	want := m.granted(grants)
	got, replica := m.store.Grant(m.index, at(m.index), grants), m.replica.Grant(m.index, at(m.index), grants)
	for i, grant := range grants {
		m.agree(t, fmt.Sprintf("grant %d: %v", i, grant), got[i], replica[i], want[i])
		scribble(grant)
	}
}

// granted grants in the model.
func (m *storeMachine) granted(grants []*trellisv1.Grant) (want []error) {
	for i, grant := range grants {
		want = append(want, m.model.grant(m.index, i, grant))
	}
	m.model.follow(m.index)
	return want
}

// grantNext leases the runs that are next to workers that have slots free.
func (m *storeMachine) grantNext(t *rapid.T) {
	m.index++
	grants := m.nextGrants()
	if len(grants) == 0 {
		t.Skip()
	}
	m.grantAll(t, grants)
}

// recordAndGrant records the next epochs or the end of an attempt, and leases the runs that are next. The replica does
// one after the other.
func (m *storeMachine) recordAndGrant(t *rapid.T) {
	run := m.drawHeld(t)
	m.index++
	var entry *trellisv1.RecordCommand_Entry
	switch rapid.IntRange(0, 2).Draw(t, "entry") {
	case 0:
		entry = m.drawReports(t, run, run.attempt, uint32(len(run.train)+1))
	case 1:
		entry = drawSuccess(t, run, run.attempt, uint32(len(run.train)))
	default:
		entry = failureEntry(run.study, run.Id, run.attempt, trellisv1.FailureClass_FAILURE_CLASS_WORKER, "broken")
	}
	entries := []*trellisv1.RecordCommand_Entry{entry}
	rules := drawRules(t)
	m.model.rules = rules
	want := m.recorded(entries)
	grants := m.nextGrants()
	want = append(want, m.granted(grants)...)
	got := m.store.RecordAndGrant(m.index, at(m.index), rules, entries, grants)
	replica := m.replica.Record(m.index, at(m.index), rules, entries)
	replica = append(replica, m.replica.Grant(m.index, at(m.index), grants)...)
	for i := range want {
		m.agree(t, fmt.Sprintf("%d of %v and %v", i, entries, grants), got[i], replica[i], want[i])
	}
	scribble(entry)
	for _, grant := range grants {
		scribble(grant)
	}
}

// nextGrants returns grants of the runs that are next to workers that have slots free.
func (m *storeMachine) nextGrants() (grants []*trellisv1.Grant) {
	next := m.model.next()
	for _, name := range []string{"w", "w1", "x"} {
		worker := m.model.workers[name]
		for free := 0; worker != nil && worker.state == lifecycle.WorkerReady &&
			free < int(worker.slots)-m.model.held(name) && len(next) > 0; free++ {
			grants = append(grants, &trellisv1.Grant{Study: next[0].study, Run: next[0].Id, Worker: name})
			next = next[1:]
		}
	}
	return grants
}

// reportNext reports the next epochs of a run that is held.
func (m *storeMachine) reportNext(t *rapid.T) {
	run := m.drawHeld(t)
	epoch := uint32(len(run.train) + 1)
	m.put(t, []*trellisv1.RecordCommand_Entry{m.drawReports(t, run, run.attempt, epoch)})
}

// checkpointNext notes a checkpoint of an epoch that is recorded of a run that is held.
func (m *storeMachine) checkpointNext(t *rapid.T) {
	run := m.drawHeld(t)
	if len(run.train) == 0 {
		t.Skip()
	}
	epoch := rapid.Uint32Range(1, uint32(len(run.train))).Draw(t, "epoch")
	m.put(t, []*trellisv1.RecordCommand_Entry{m.drawCheckpoint(t, run, run.attempt, epoch)})
}

func (m *storeMachine) succeedNext(t *rapid.T) {
	run := m.drawHeld(t)
	m.put(t, []*trellisv1.RecordCommand_Entry{drawSuccess(t, run, run.attempt, uint32(len(run.train)))})
}

// drawSuccess draws why an attempt has succeeded.
func drawSuccess(t *rapid.T, run *modelRun, attempt uint64, epochs uint32) *trellisv1.RecordCommand_Entry {
	entry := successEntry(run.study, run.Id, attempt, epochs)
	entry.GetOutcome().GetSuccess().StopReason = rapid.SampledFrom([]trellisv1.StopReason{
		trellisv1.StopReason_STOP_REASON_EARLY_STOPPING, trellisv1.StopReason_STOP_REASON_MAX_EPOCHS,
	}).Draw(t, "reason")
	return entry
}

// endStageNext trains a run that is held to the end of its stage, and says so.
func (m *storeMachine) endStageNext(t *rapid.T) {
	run := m.drawHeld(t)
	stage := m.model.study(run.study).stage(run)
	if stored, err := m.store.Snapshot().Run(nil, run.study, run.Id); err != nil ||
		pruning.Stage(m.studyOf(t, run), stored) != stage {
		t.Fatalf("the stage of %v, error %v, ends at %d, want %d", stored, err,
			pruning.Stage(m.studyOf(t, run), stored), stage)
	}
	var train, validation []float64
	var epochs []epochLosses
	for epoch := len(run.train) + 1; epoch <= int(stage); epoch++ {
		drawn := rapid.SampledFrom(someLosses).Draw(t, "loss")
		losses := m.told(run, epoch, epochLosses{drawn, drawn, drawn})
		train, validation, epochs = append(train, losses.train), append(validation, losses.validation), append(epochs,
			losses)
	}
	var entries []*trellisv1.RecordCommand_Entry
	if len(train) > 0 {
		entry := columnEntry(run.study, run.Id, run.attempt, uint32(len(run.train)+1), train, validation, nil)
		addMetrics(run, entry.GetReports(), epochs)
		entries = append(entries, entry)
	}
	entries = append(entries, stageEntry(run.study, run.Id, run.attempt, stage))
	split := rapid.IntRange(0, len(entries)-1).Draw(t, "split")
	if split > 0 {
		m.put(t, entries[:split])
	}
	m.put(t, entries[split:])
}

func (m *storeMachine) studyOf(t *rapid.T, run *modelRun) *trellisv1.Study {
	study, err := m.store.Snapshot().Study(nil, run.study)
	if err != nil {
		t.Fatal(err)
	}
	return study
}

func (m *storeMachine) drawHeld(t *rapid.T) *modelRun {
	held := m.model.heldRuns()
	if len(held) == 0 {
		t.Skip()
	}
	return rapid.SampledFrom(held).Draw(t, "run")
}

// told are the losses that a worker tells of an epoch that is not recorded yet: the drawn ones, unless its twins have
// others.
func (m *storeMachine) told(run *modelRun, epoch int, drawn epochLosses) epochLosses {
	switch known := m.truth[run.Id]; {
	case epoch == len(known)+1:
		m.truth[run.Id] = append(known, drawn)
	case epoch > len(run.train) && epoch <= len(known) && !m.faulty:
		return known[epoch-1]
	}
	return drawn
}

// drawReports draws a column of losses that are the same for an epoch of a run, except now and then.
func (m *storeMachine) drawReports(
	t *rapid.T, run *modelRun, attempt uint64, epoch uint32,
) *trellisv1.RecordCommand_Entry {
	var train, validation []float64
	var epochs []epochLosses
	test, testMetrics := map[uint32]float64{}, map[uint32]*trellisv1.Metrics{}
	for i := range rapid.IntRange(1, 4).Draw(t, "epochs") {
		losses := m.told(run, int(epoch)+i, epochLosses{
			rapid.SampledFrom(someLosses).Draw(t, "train"), rapid.SampledFrom(someLosses).Draw(t, "validation"),
			rapid.SampledFrom(someLosses).Draw(t, "accuracy"),
		})
		train, validation, epochs = append(train, losses.train), append(validation, losses.validation), append(epochs,
			losses)
	}
	deviate := rapid.IntRange(0, 4).Draw(t, "deviate") == 0
	for i := range train {
		epoch := epoch + uint32(i)
		hasTest := rapid.IntRange(0, 2).Draw(t, "has test") == 0
		if hasTest {
			test[epoch] = rapid.SampledFrom(someLosses).Draw(t, "test")
		}
		if hasTest && reportsMetrics(run.Id) {
			accuracy := rapid.SampledFrom(someLosses).Draw(t, "test accuracy")
			testMetrics[epoch] = &trellisv1.Metrics{Values: map[string]float64{"accuracy": accuracy}}
		}
		if epoch == 0 || int(epoch) > len(run.train) || deviate {
			continue
		}
		train[i], validation[i] = run.train[epoch-1], run.validation[epoch-1]
		if recorded := run.metrics["validation_accuracy"]; recorded != nil {
			epochs[i].accuracy = recorded[epoch-1]
		}
		if recorded, ok := run.test[epoch]; ok && hasTest {
			test[epoch] = recorded
			if metrics := run.testMetrics[epoch]; metrics != nil {
				testMetrics[epoch] = proto.CloneOf(metrics)
			}
		}
	}
	entry := columnEntry(run.study, run.Id, attempt, epoch, train, validation, test)
	addMetrics(run, entry.GetReports(), epochs)
	entry.GetReports().TestMetrics = testMetrics
	return entry
}

func (m *storeMachine) drawCheckpoint(
	t *rapid.T, run *modelRun, attempt uint64, epoch uint32,
) *trellisv1.RecordCommand_Entry {
	digit := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "A", ""}).Draw(t, "digit")
	return checkpointEntry(run.study, run.Id, attempt, epoch, digest(digit))
}

func (m *storeMachine) record(t *rapid.T) {
	runs := m.model.allRuns()
	if len(runs) == 0 {
		t.Skip()
	}
	var entries []*trellisv1.RecordCommand_Entry
	for range rapid.IntRange(1, 4).Draw(t, "entries") {
		run := rapid.SampledFrom(runs).Draw(t, "run")
		attempt := run.attempt
		if rapid.IntRange(0, 5).Draw(t, "stale") == 0 {
			attempt = AttemptNumber(rapid.Uint64Range(0, m.index).Draw(t, "attempt"),
				rapid.IntRange(0, 3).Draw(t, "place"))
		}
		epoch := rapid.Uint32Range(0, run.Parameters.MaxEpochs+1).Draw(t, "epoch")
		var entry *trellisv1.RecordCommand_Entry
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0:
			entry = drawSuccess(t, run, attempt, epoch)
		case 1:
			class := trellisv1.FailureClass(rapid.IntRange(0, 7).Draw(t, "class"))
			entry = failureEntry(run.study, run.Id, attempt, class, "it failed")
		case 2:
			entry = returnEntry(run.study, run.Id, attempt)
		case 3:
			entry = m.drawCheckpoint(t, run, attempt, epoch)
		case 4:
			entry = m.drawReports(t, run, attempt, epoch)
			spoil(t, run, entry.GetReports())
		default:
			entry = m.drawReports(t, run, attempt, epoch)
		}
		entries = append(entries, entry)
	}
	m.put(t, entries)
}

// spoil breaks one of the rules that hold for columns.
func spoil(t *rapid.T, run *modelRun, reports *trellisv1.Reports) {
	column := func() *trellisv1.Series { return &trellisv1.Series{Values: slices.Clone(reports.TrainLoss)} }
	if reports.Metrics == nil {
		reports.Metrics = map[string]*trellisv1.Series{}
	}
	if reports.TestMetrics == nil {
		reports.TestMetrics = map[uint32]*trellisv1.Metrics{}
	}
	switch rapid.IntRange(0, 10).Draw(t, "rule") {
	case 0:
		reports.TrainLoss = nil
	case 1:
		reports.ValidationLoss = append(reports.ValidationLoss, 1)
	case 2:
		reports.Seconds = reports.Seconds[1:]
	case 3:
		reports.TrainLoss, reports.ValidationLoss, reports.Seconds = nil, nil, nil
	case 4:
		reports.FirstEpoch = math.MaxUint32
	case 5:
		reports.TestLoss[reports.FirstEpoch+uint32(len(reports.TrainLoss))] = 1
	case 6:
		reports.Metrics["train_accuracy"] = &trellisv1.Series{Values: append(column().Values, 1)}
	case 7:
		name := rapid.SampledFrom([]string{
			"", "accuracy", "validation_Accuracy", "validation_acc1", "validation_f\u00fcnf",
			"train_" + strings.Repeat("a", 59),
		}).Draw(t, "name")
		reports.Metrics[name] = column()
	case 8:
		for i := range 17 {
			reports.Metrics["train_"+strings.Repeat("a", i)] = column()
		}
	case 9:
		delete(reports.TestLoss, reports.FirstEpoch)
		reports.TestMetrics[reports.FirstEpoch] = &trellisv1.Metrics{Values: map[string]float64{"accuracy": 1}}
	case 10:
		// What begins without metrics would go on so, and contradict its twins.
		if len(run.train) > 0 {
			delete(reports.Metrics, rapid.SampledFrom([]string{"train_accuracy", "validation_accuracy"}).Draw(t,
				"name"))
		}
	}
}

// drawRules draws the rules of a command: those of before runs were trained again, which the model knows. For the
// others, see TestFaultyWorkers.
func drawRules(t *rapid.T) trajectory.Rules {
	return rapid.SampledFrom([]trajectory.Rules{
		trajectory.CountMachines, trajectory.CountMachines, trajectory.CountMachines, trajectory.CountAttempts,
	}).Draw(t, "rules")
}

func (m *storeMachine) put(t *rapid.T, entries []*trellisv1.RecordCommand_Entry) {
	m.index++
	rules := drawRules(t)
	m.model.rules = rules
	want := m.recorded(entries)
	got := m.store.Record(m.index, at(m.index), rules, entries)
	replica := m.replica.Record(m.index, at(m.index), rules, entries)
	for i := range entries {
		m.agree(t, fmt.Sprintf("entry %d: %v", i, entries[i]), got[i], replica[i], want[i])
		scribble(entries[i])
	}
}

// recorded records in the model.
func (m *storeMachine) recorded(entries []*trellisv1.RecordCommand_Entry) []error {
	want := make([]error, len(entries))
	for i, entry := range entries {
		switch entry := entry.Entry.(type) {
		case *trellisv1.RecordCommand_Entry_Reports:
			want[i] = m.model.report(m.index, entry.Reports)
		case *trellisv1.RecordCommand_Entry_Outcome:
			want[i] = m.model.outcome(m.index, entry.Outcome)
		case *trellisv1.RecordCommand_Entry_Checkpoint:
			want[i] = m.model.checkpoint(m.index, entry.Checkpoint)
		}
	}
	m.model.follow(m.index)
	return want
}

// restore replaces the replica's state by what the store writes, or begins a new replica with it.
func (m *storeMachine) restore(t *rapid.T) {
	var data bytes.Buffer
	if _, err := m.store.Snapshot().WriteTo(&data); err != nil {
		t.Fatal(err)
	}
	if rapid.Bool().Draw(t, "new") {
		replica, err := New()
		if err != nil {
			t.Fatal(err)
		}
		m.replica = replica
	}
	if err := m.replica.Restore(&data); err != nil {
		t.Fatal(err)
	}
}
