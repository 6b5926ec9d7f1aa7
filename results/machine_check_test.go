package results

import (
	"errors"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/listing"
)

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
	if m.index%8 == 0 {
		checkIndexes(t, snapshot)
	}
	m.checkWorkers(t, snapshot)
	m.checkTwins(t)
	studies, err := snapshot.Studies(nil)
	if err != nil || len(studies) != len(m.model.studies) {
		t.Fatalf("%d studies and error %v, want %d", len(studies), err, len(m.model.studies))
	}
	for i, want := range m.model.studies {
		m.checkStudy(t, snapshot, studies[i], want)
	}
	want := m.model.next()
	n := rapid.IntRange(1, len(want)+1).Draw(t, "next runs")
	next, err := snapshot.NextRuns(nil, n)
	if err != nil || !slices.EqualFunc(next, want[:min(n, len(want))], func(got *trellisv1.Run, want *modelRun) bool {
		return got.Study == want.study && got.Id == want.Id
	}) {
		t.Fatalf("next %d runs %v and error %v, want %v", n, next, err, want)
	}
}

// checkTwins makes sure that twins never differ, unless machines are faulty, and that but for those of fresh studies,
// one of them is trained at a time and none waits for what another knows. That the store is as the model is checked
// elsewhere.
func (m *storeMachine) checkTwins(t *rapid.T) {
	for _, run := range m.model.allRuns() {
		leased, fresh := 0, m.model.study(run.study).fresh
		for _, twin := range m.model.twins(run.Id) {
			n := min(len(run.train), len(twin.train))
			same := slices.EqualFunc(run.train[:n], twin.train[:n], sameLoss) &&
				slices.EqualFunc(run.validation[:n], twin.validation[:n], sameLoss)
			if !same && !m.faulty {
				t.Fatalf("twins differ: %+v and %+v", run, twin)
			}
			if twin.state == lifecycle.RunLeased && !m.model.study(twin.study).fresh {
				leased++
			}
			if same && !fresh && run.state == lifecycle.RunPending &&
				min(len(twin.train), int(run.Parameters.MaxEpochs)) > len(run.train) {
				t.Fatalf("a run does not know what its twin knows: %+v and %+v", run, twin)
			}
		}
		if leased > 1 {
			t.Fatalf("%d workers train runs of the id %s", leased, run.Id)
		}
	}
}

func (m *storeMachine) checkStudy(t *rapid.T, snapshot *Snapshot, got *trellisv1.Study, want *modelStudy) {
	if got.Name != want.name || got.State != want.state {
		t.Fatalf("study %s is %v, want %s and %v", got.Name, got.State, want.name, want.state)
	}
	if got.Indices != want.indices || got.Settled != want.settled || len(got.EarlierSpecs) != want.earlierSpecs {
		t.Fatalf("the extended study is %v, want %+v", got, want)
	}
	if ended := want.state == lifecycle.StudyCompleted ||
		want.state == lifecycle.StudyCanceled; ended != (got.EndTime != nil) {
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
	checkDigest(t, snapshot, got.Name)
	CheckInsight(t, snapshot, got)
}

func (m *storeMachine) checkRun(t *rapid.T, snapshot *Snapshot, study *modelStudy, want *modelRun) {
	got, err := snapshot.Run(nil, study.name, want.Id)
	if err != nil {
		t.Fatal(err)
	}
	attempt, worker, attemptEpochs := want.attempt, want.worker, want.attemptEpochs
	if want.state != lifecycle.RunLeased {
		attempt, worker, attemptEpochs = 0, "", 0
	}
	if got.State != want.state || got.Attempt != attempt || got.Worker != worker ||
		int(got.Epochs) != len(want.train) ||
		len(got.Failures) != len(want.failures) || got.AttemptEpochs != attemptEpochs ||
		got.ModifyIndex != want.changed || got.StopReason != want.reason ||
		int(got.SharedEpochs) != want.shared || got.SharedSeconds != float64(want.shared)/2 ||
		got.SharedFrom != want.sharedFrom ||
		(got.Error != "") != (want.state == lifecycle.RunFailed) {
		t.Fatalf("run:\n got %v\nwant %+v", got, want)
	}
	if kept := want.keptCheckpoints(); !slices.EqualFunc(got.Checkpoints, kept, func(a, b *trellisv1.Checkpoint) bool {
		return proto.Equal(a, b)
	}) {
		t.Fatalf("checkpoints %v, want %v", got.Checkpoints, kept)
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
		TestMetrics: want.testMetrics, Seconds: want.seconds,
	}
	for name, values := range want.metrics {
		if wanted.Metrics == nil {
			wanted.Metrics = map[string]*trellisv1.Series{}
		}
		wanted.Metrics[name] = &trellisv1.Series{Values: values}
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
	diverged := uint64(0)
	for i, trial := range study.trials {
		want, got := m.model.trial(study.name, trial), proto.CloneOf(list.Trials[i])
		if (got.Error != "") != (got.State == lifecycle.TrialFailed) {
			t.Fatalf("a trial is %v with the error %q", got.State, got.Error)
		}
		got.Error = ""
		if want.State == lifecycle.TrialSucceeded {
			ranked = append(ranked, want)
			if want = proto.CloneOf(want); math.IsNaN(want.GetObjective()) {
				want.State = lifecycle.TrialDiverged
				diverged++
			}
		}
		if !proto.Equal(got, want) {
			t.Fatalf("trial:\n got %v\nwant %v", got, want)
		}
	}
	stored, err := snapshot.Study(nil, study.name)
	if err != nil {
		t.Fatal(err)
	}
	presented, err := snapshot.Presented(stored)
	if err != nil || presented.Progress.TrialsDiverged != diverged ||
		presented.Progress.TrialsSucceeded != stored.Progress.TrialsSucceeded-diverged {
		t.Fatalf("presented %v and error %v, want %d diverged", presented, err, diverged)
	}
	slices.SortFunc(ranked, listing.Ranking{}.Compare)
	checkRanking(t, snapshot, study.name, ranked)
}

// checkRanking compares the ranking of a study's trials with that of the model, best first.
func checkRanking(t *rapid.T, snapshot *Snapshot, study string, want []*trellisv1.Trial) {
	ranked, err := snapshot.Ranked(study)
	if err != nil {
		t.Fatal(err)
	}
	got := slices.Collect(ranked)
	if !slices.EqualFunc(got, want, func(a, b *trellisv1.Trial) bool { return a.Index == b.Index }) {
		t.Fatalf("ranked %v, want %v", got, want)
	}
	best, err := snapshot.Best(nil, study)
	if len(want) == 0 && !errors.Is(err, ErrNoAnswer) || len(want) > 0 && (err != nil || best.Index != want[0].Index) {
		t.Fatalf("best %v and error %v, want the first of %v", best, err, want)
	}
}

func (m *storeMachine) checkWorkers(t *rapid.T, snapshot *Snapshot) {
	workers, err := snapshot.Workers(nil)
	if err != nil || len(workers) != len(m.model.workers) {
		t.Fatalf("%d workers and error %v, want %d", len(workers), err, len(m.model.workers))
	}
	freeWorkers, err := snapshot.FreeWorkers(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range workers {
		want, held := m.model.workers[got.Name], m.model.held(got.Name)
		if free := want.state == lifecycle.WorkerReady &&
			held < int(want.slots); free != slices.Contains(freeWorkers, got) {
			t.Fatalf("worker %v is free: %v", got, free)
		}
		if got.State != want.state || got.Slots != want.slots || int(got.Runs) != held {
			t.Fatalf("worker %v, want %+v with %d runs", got, want, held)
		}
		runs, err := snapshot.RunsHeldBy(nil, got.Name)
		if err != nil || len(runs) != held {
			t.Fatalf("worker %s holds %v and error %v, want %d", got.Name, runs, err, held)
		}
	}
}
