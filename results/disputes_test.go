package results

import (
	"errors"
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// disputes is a store with workers on machines of their own, and studies of one run "a" of two epochs.
type disputes struct {
	*testing.T
	store *Store
	index uint64
}

func newDisputes(t *testing.T, workers ...string) *disputes {
	d := &disputes{T: t, store: newStore(t)}
	for _, name := range workers {
		ok(t, d.store.SetWorker(d.next(), at(d.index), trajectory.LatestRules,
			&trellisv1.Worker{Name: name, State: lifecycle.WorkerReady, Slots: 4}))
	}
	return d
}

func (d *disputes) next() uint64 { d.index++; return d.index }

func (d *disputes) create(name string, audit float64) {
	d.Helper()
	run, trials := testRun("a", 4, 0, 1, 2)
	ok(d, d.store.CreateListed(d.next(), at(d.index), &trellisv1.Study{
		Name: name, Spec: &trellisv1.StudySpec{Name: name, Audit: audit},
	}, []*trellisv1.Run{run}, trials))
}

func (d *disputes) grant(study, worker string) uint64 {
	d.Helper()
	return grant1(d, d.store, d.next(), study, "a", worker)
}

// record records an entry by the rules, and returns the error.
func (d *disputes) record(rules trajectory.Rules, entry *trellisv1.RecordCommand_Entry) error {
	return d.store.Record(d.next(), at(d.index), rules, []*trellisv1.RecordCommand_Entry{entry})[0]
}

func (d *disputes) run(study string) *trellisv1.Run {
	d.Helper()
	run, err := d.store.Snapshot().Run(nil, study, "a")
	ok(d, err)
	return run
}

// losses are the columns of both epochs.
func (d *disputes) losses(study string, attempt uint64, losses ...float64) *trellisv1.RecordCommand_Entry {
	return columnEntry(study, "a", attempt, 1, losses, losses, nil)
}

// What old rules have failed for a conflict, a retry by today's rules trains anew. One by old rules goes on from what is
// recorded.
func TestRetryAfterAConflictOfOldRules(t *testing.T) {
	for rules, epochs := range map[trajectory.Rules]uint32{trajectory.CountMachines: 1, trajectory.LatestRules: 0} {
		d := newDisputes(t, "w", "x")
		d.create("s", 0)
		attempt := d.grant("s", "w")
		ok(t, d.record(trajectory.CountMachines, d.losses("s", attempt, 42)))
		ok(t, d.record(trajectory.CountMachines, returnEntry("s", "a", attempt)))
		err := d.record(trajectory.CountMachines, d.losses("s", d.grant("s", "x"), 1))
		if run := d.run("s"); !errors.Is(err, ErrConflict) || run.State != lifecycle.RunFailed || run.Dispute != nil {
			t.Fatalf("by old rules: %v, %v", err, run)
		}
		if runs, err := d.store.RetryStudy(d.next(), at(d.index), rules, "s", false); runs != 1 || err != nil {
			t.Fatalf("retry: %d, %v", runs, err)
		}
		if run := d.run("s"); run.State != lifecycle.RunPending || run.Epochs != epochs || len(run.Failures) > 0 {
			t.Errorf("after a retry by rules %d: %v", rules, run)
		}
	}
}

// A study that has copied wrong losses from another one gets the right ones, although it had ended.
func TestTwinsAreCorrected(t *testing.T) {
	d := newDisputes(t, "bad", "good", "fine")
	d.create("s", 1)
	attempt := d.grant("s", "bad")
	ok(t, d.record(trajectory.LatestRules, d.losses("s", attempt, 2, 0.5)))
	ok(t, d.record(trajectory.LatestRules, stageEntry("s", "a", attempt, 2)))
	d.create("t", 0)
	best := func(want float64) {
		t.Helper()
		for _, study := range []string{"s", "t"} {
			trial, err := d.store.Snapshot().Best(nil, study)
			if err != nil || trial.GetObjective() != want {
				t.Errorf("study %s: %v, error %v, want %v", study, trial, err, want)
			}
		}
	}
	best(0.5)
	if err := d.record(trajectory.LatestRules, d.losses("s", d.grant("s", "good"), 2, 1)); !errors.Is(err, ErrConflict) {
		t.Errorf("the audit contradicts: %v", err)
	}
	best(0.5) // Until it is decided.
	attempt = d.grant("s", "fine")
	ok(t, d.record(trajectory.LatestRules, d.losses("s", attempt, 2, 1)))
	ok(t, d.record(trajectory.LatestRules, stageEntry("s", "a", attempt, 2)))
	best(1)
	if run := d.run("t"); run.State != lifecycle.RunSucceeded || run.SharedEpochs != 2 {
		t.Errorf("the twin: %v", run)
	}
	study, err := d.store.Snapshot().Study(nil, "t")
	ok(t, err)
	if study.State != lifecycle.StudyCompleted {
		t.Errorf("the twin's study: %v", study)
	}
	worker, err := d.store.Snapshot().Worker(nil, "bad")
	ok(t, err)
	equal(t, "what was wrong", worker.Wrong, &trellisv1.WrongLosses{Study: "s", Run: "a", Epoch: 2})
	// What "fine" has trained is audited in turn.
	if run := d.run("s"); run.Audit.GetState() != trellisv1.AuditState_AUDIT_STATE_DUE || len(run.Decided.GetDisagreements()) != 1 {
		t.Errorf("the corrected run: %v", run)
	}
	attempt = d.grant("s", "good")
	ok(t, d.record(trajectory.LatestRules, d.losses("s", attempt, 2, 1)))
	ok(t, d.record(trajectory.LatestRules, stageEntry("s", "a", attempt, 2)))
	if run := d.run("s"); run.Audit.GetState() != trellisv1.AuditState_AUDIT_STATE_EQUAL || run.Audit.SameMachine != true {
		t.Errorf("the audited run: %v", run)
	}
}

// Nothing resumes from weights of a disputed run, nothing refers to them, and nobody gets them.
func TestWeightsOfADisputeAreDropped(t *testing.T) {
	d := newDisputes(t, "w", "x", "y")
	d.create("s", 0)
	attempt := d.grant("s", "w")
	ok(t, d.record(trajectory.LatestRules, d.losses("s", attempt, 1, 42)))
	ok(t, d.record(trajectory.LatestRules, checkpointEntry("s", "a", attempt, 1, digest("a"))))
	ok(t, d.record(trajectory.LatestRules, returnEntry("s", "a", attempt)))
	attempt = d.grant("s", "x")
	if err := d.record(trajectory.LatestRules, d.losses("s", attempt, 1, 2)); !errors.Is(err, ErrConflict) {
		t.Fatalf("a conflict: %v", err)
	}
	dropped := func() {
		t.Helper()
		artifacts, err := d.store.Snapshot().Artifacts()
		ok(t, err)
		if run := d.run("s"); len(run.Checkpoints) > 0 || len(artifacts) > 0 || run.Dispute == nil {
			t.Errorf("the run is %v, artifacts %v", run, artifacts)
		}
	}
	dropped()
	trial, err := d.store.Snapshot().Trial("s", 0)
	ok(t, err)
	if _, err := trajectory.BestWeights(nil, trial, d.run("s")); err == nil || !strings.Contains(err.Error(), "not certain") {
		t.Errorf("its weights: %v", err)
	}
	// Those of the attempt that is to decide are dropped, too, if it ends before.
	attempt = d.grant("s", "y")
	ok(t, d.record(trajectory.LatestRules, d.losses("s", attempt, 1)))
	ok(t, d.record(trajectory.LatestRules, checkpointEntry("s", "a", attempt, 1, digest("b"))))
	if err := d.record(trajectory.LatestRules, checkpointEntry("s", "a", attempt, 2, digest("c"))); !errors.Is(err, ErrGap) {
		t.Errorf("a checkpoint of an epoch that is not compared: %v", err)
	}
	ok(t, d.record(trajectory.LatestRules, returnEntry("s", "a", attempt)))
	dropped()
	attempt = d.grant("s", "y")
	if run := d.run("s"); run.AttemptEpochs != 0 {
		t.Errorf("the attempt starts after epoch %d", run.AttemptEpochs)
	}
	if err := d.record(trajectory.LatestRules, columnEntry("s", "a", attempt, 2, []float64{1}, []float64{1}, nil)); !errors.Is(err, ErrGap) {
		t.Errorf("the second epoch before the first: %v", err)
	}
	ok(t, d.record(trajectory.LatestRules, d.losses("s", attempt, 1, 2)))
	ok(t, d.record(trajectory.LatestRules, checkpointEntry("s", "a", attempt, 1, digest("c"))))
	if run := d.run("s"); len(run.Checkpoints) != 1 || run.Dispute != nil || run.TrainLoss != 2 {
		t.Errorf("after a third machine: %v", run)
	}
}

// The audit of a run that can't be trained again is given up, and its study ends.
func TestAnAuditIsGivenUp(t *testing.T) {
	d := newDisputes(t, "w", "x")
	d.create("s", 1)
	attempt := d.grant("s", "w")
	ok(t, d.record(trajectory.LatestRules, d.losses("s", attempt, 1, 2)))
	ok(t, d.record(trajectory.LatestRules, stageEntry("s", "a", attempt, 2)))
	attempt = d.grant("s", "x")
	ok(t, d.record(trajectory.LatestRules, failureEntry("s", "a", attempt,
		trellisv1.FailureClass_FAILURE_CLASS_OUT_OF_MEMORY, "no room")))
	study, err := d.store.Snapshot().Study(nil, "s")
	ok(t, err)
	if run := d.run("s"); run.Audit.GetState() != trellisv1.AuditState_AUDIT_STATE_GIVEN_UP || run.Audit.GetError() == "" ||
		run.State != lifecycle.RunSucceeded || study.State != lifecycle.StudyCompleted {
		t.Errorf("the run: %v, the study: %v", run, study)
	}
}
