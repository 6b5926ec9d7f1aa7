package results

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// TestTimeBudgetEnds: when the time is over, what has begun goes on, on whatever worker, and what a worker holds too; and
// the end of another study of that name, or of one that has time left, is refused.
func TestTimeBudgetEnds(t *testing.T) {
	store := newStore(t)
	study := indexedStudy("s", 200, 3)
	study.Spec.Budget = &trellisv1.Budget{Time: durationpb.New(20 * time.Second)}
	ok(t, store.CreateStudy(1, at(1), study))
	ok(t, store.SetWorker(2, at(2), trajectory.LatestRules, &trellisv1.Worker{
		Name: "worker", State: lifecycle.WorkerReady, Slots: 100,
	}))
	runs, err := store.Snapshot().NextRuns(nil, 3)
	ok(t, err)
	begun, idle, held := runs[0], runs[1], runs[2]
	grants := []*trellisv1.Grant{}
	for _, run := range runs {
		grants = append(grants, &trellisv1.Grant{Study: "s", Run: run.Id, Worker: "worker", Place: proto.Uint32(run.Place)})
	}
	for _, err := range store.Grant(3, at(3), grants) {
		ok(t, err)
	}
	// One has an epoch and waits, one waits and has none, and one is trained.
	record(t, store, 4, reportEntry("s", begun.Id, AttemptNumber(3, 0), 1, 1, 1, nil),
		returnEntry("s", begun.Id, AttemptNumber(3, 0)), returnEntry("s", idle.Id, AttemptNumber(3, 1)))

	if err := store.EndTimeBudget(5, at(20), "s", 1); !errors.Is(err, ErrIllegalMove) {
		t.Errorf("before the time is over: %v", err)
	}
	if err := store.EndTimeBudget(6, at(21), "s", 2); !errors.Is(err, ErrIllegalMove) {
		t.Errorf("the end of another study: %v", err)
	}
	ok(t, store.EndTimeBudget(7, at(21), "s", 1))
	for run, want := range map[*trellisv1.Run]trellisv1.RunState{
		begun: lifecycle.RunPending, idle: lifecycle.RunCanceled, held: lifecycle.RunLeased,
	} {
		now, err := store.Snapshot().Run(nil, "s", run.Id)
		ok(t, err)
		if now.State != want {
			t.Errorf("a run with %d epochs is %v, want %v", now.Epochs, now.State, want)
		}
	}
	now, err := store.Snapshot().Study(nil, "s")
	ok(t, err)
	if p := now.Progress; p.TrialsCanceled != 198 || now.State != lifecycle.StudyRunning {
		t.Errorf("the study is %v with %v", now.State, p)
	}
	next, err := store.Snapshot().NextRuns(nil, 10)
	ok(t, err)
	if len(next) != 1 || next[0].Id != begun.Id {
		t.Errorf("next come %v, want the run that has begun", next)
	}
	checkIndexes(t, store.Snapshot())
}
