package results

import (
	"errors"
	"maps"
	"math"
	"runtime"
	"slices"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// TestGrantTooMany: more grants than attempt numbers are refused, all of them, and nothing changes.
func TestGrantTooMany(t *testing.T) {
	store := newStore(t)
	index := createLarge(t, store, "s", MaxGrants+1, 1)
	grants := make([]*trellisv1.Grant, MaxGrants+1)
	for i := range grants {
		grants[i] = &trellisv1.Grant{Study: "s", Run: largeRunID(i), Worker: "worker"}
	}
	before := mustHash(t, store.Snapshot())
	for i, err := range store.Grant(index, at(index), grants) {
		if !errors.Is(err, ErrInvalid) {
			t.Fatalf("grant %d of too many: %v", i, err)
		}
	}
	if mustHash(t, store.Snapshot()) != before {
		t.Error("refused grants have changed something")
	}
	attempts := map[uint64]bool{}
	for i, err := range store.Grant(index, at(index), grants[:MaxGrants]) {
		ok(t, err)
		run, err := store.Snapshot().Run(nil, "s", grants[i].Run)
		ok(t, err)
		attempts[run.Attempt] = true
	}
	if len(attempts) != MaxGrants || attempts[AttemptNumber(index+1, 0)] {
		t.Errorf("%d numbers for %d attempts", len(attempts), MaxGrants)
	}
}

// TestRecordAndGrantIsOneState: a study has one state for each index, whoever looks while a command both records and grants. Else what
// was answered in between would be kept, and who watches the study would not hear of the grants.
func TestRecordAndGrantIsOneState(t *testing.T) {
	const commands, grants = 20, 500
	store := newStore(t)
	index := createLarge(t, store, "s", 1+commands*grants, commands)
	attempt := grant1(t, store, index, "s", largeRunID(0), "worker")
	stop := make(chan struct{})
	var looks sync.WaitGroup
	looks.Go(func() {
		training := map[uint64]uint64{}
		for {
			select {
			case <-stop:
				return
			default:
			}
			study, err := store.Snapshot().Study(nil, "s")
			if err != nil {
				t.Error(err)
				return
			}
			its := study.Progress.RunsRunning
			if before, seen := training[study.ModifyIndex]; seen && before != its {
				t.Errorf("%d runs are trained at index %d, and then %d", before, study.ModifyIndex, its)
			}
			training[study.ModifyIndex] = its
		}
	})
	for epoch := range uint32(commands) {
		index++
		var next []*trellisv1.Grant
		for i := range grants {
			next = append(next, &trellisv1.Grant{Study: "s", Run: largeRunID(1 + int(epoch)*grants + i), Worker: "worker"})
		}
		entries := []*trellisv1.RecordCommand_Entry{
			columnEntry("s", largeRunID(0), attempt, epoch+1, []float64{1}, []float64{1}, nil),
		}
		for _, err := range store.RecordAndGrant(index, at(index), trajectory.LatestRules, entries, next) {
			ok(t, err)
		}
	}
	close(stop)
	looks.Wait()
}

// TestRecordAndGrantWhenOneFails: in a corrupt store, where nothing can be recorded of the runs of a worker that is gone, others get
// theirs.
func TestRecordAndGrantWhenOneFails(t *testing.T) {
	store := newStore(t)
	index := createLarge(t, store, "s", 2, 1)
	ok(t, store.SetWorker(index, at(index), trajectory.LatestRules,
		&trellisv1.Worker{Name: "other", State: lifecycle.WorkerReady, Slots: 1}))
	attempt := grant1(t, store, index+1, "s", largeRunID(0), "worker")
	gone, err := store.Snapshot().Worker(nil, "worker")
	ok(t, err)
	txn := store.tables.Load().db.Txn(true)
	ok(t, remove(txn, tableWorkers, gone))
	txn.Commit()
	refused := store.RecordAndGrant(index+2, at(index+2), trajectory.LatestRules,
		[]*trellisv1.RecordCommand_Entry{returnEntry("s", largeRunID(0), attempt)},
		[]*trellisv1.Grant{{Study: "s", Run: largeRunID(1), Worker: "other"}})
	if len(refused) != 2 || !errors.Is(refused[0], ErrNotFound) || refused[1] != nil {
		t.Errorf("refused: %v", refused)
	}
	for i, worker := range []string{"worker", "other"} {
		run, err := store.Snapshot().Run(nil, "s", largeRunID(i))
		ok(t, err)
		if run.Worker != worker {
			t.Errorf("run %d is trained by %q, want %q", i, run.Worker, worker)
		}
	}
}

// TestSeconds: what a faulty worker says of its time spoils no sum.
func TestSeconds(t *testing.T) {
	store := newStore(t)
	index := createLarge(t, store, "s", 1, 9)
	attempt := grant1(t, store, index, "s", largeRunID(0), "worker")
	losses := []float64{1, 1, 1, 1, 1, 1}
	entry := columnEntry("s", largeRunID(0), attempt, 1, losses, losses, nil)
	entry.GetReports().Seconds = []float64{0.25, math.NaN(), math.Inf(1), -1, 1e300, 0.5}
	record(t, store, index+1, entry)
	study, err := store.Snapshot().Study(nil, "s")
	ok(t, err)
	if study.Progress.TrainingSeconds != 0.75 {
		t.Errorf("%v seconds of training, want 0.75", study.Progress.TrainingSeconds)
	}
}

// TestGrantedByPlace: a run whose grant says where it is is found at once, also when nobody has looked at it for long.
func TestGrantedByPlace(t *testing.T) {
	const count = 100_000
	store := newStore(t)
	ok(t, store.CreateStudy(1, at(1), indexedStudy("s", count, 2)))
	snapshot := store.Snapshot()
	c, err := snapshot.catalog("s")
	ok(t, err)
	place := uint32(count - 1)
	grant := &trellisv1.Grant{Study: "s", Run: c.Base.Lattice.Run(place).Id, Place: &place}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	run, err := snapshot.Granted(grant)
	if err != nil || run.GetPlace() != place || run.GetId() != grant.Run {
		t.Fatalf("%v, %v", run, err)
	}
	if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > count {
		t.Errorf("it takes %d bytes", after.TotalAlloc-before.TotalAlloc)
	}
	other := uint32(7)
	for name, grant := range map[string]*trellisv1.Grant{
		"another place": {Study: "s", Run: grant.Run, Place: &other}, "another study": {Study: "t", Run: grant.Run, Place: &place},
		"no such place": {Study: "s", Run: grant.Run, Place: proto.Uint32(count)},
	} {
		if _, err := snapshot.Granted(grant); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v, want that it is not found", name, err)
		}
	}
	if run, err = snapshot.Granted(&trellisv1.Grant{Study: "s", Run: grant.Run}); err != nil || run.GetPlace() != place {
		t.Errorf("without its place: %v, %v", run, err)
	}
}

// TestLeases: leases are found by their attempts and by their workers for as long as they last, whatever else their commands
// have granted and ended, and nothing is kept of those that have ended.
func TestLeases(t *testing.T) {
	const runs = 12
	store := newStore(t)
	index := createLarge(t, store, "s", runs, 1)
	ok(t, store.SetWorker(index, at(index), trajectory.LatestRules,
		&trellisv1.Worker{Name: "other", State: lifecycle.WorkerReady, Slots: runs}))
	workers := []string{"worker", "other"}
	attempts := map[uint64]int{}
	check := func() {
		t.Helper()
		snapshot, want := store.Snapshot(), map[string][]string{}
		for run := range runs {
			for attempt, of := range attempts {
				if of == run {
					want[workers[run%2]] = append(want[workers[run%2]], largeRunID(run))
					lease, err := snapshot.lease(attempt)
					if ok(t, err); lease == nil || lease.run != largeRunID(run) || lease.worker != workers[run%2] {
						t.Errorf("the lease of attempt %d is %+v, want that of run %d", attempt, lease, run)
					}
				}
			}
		}
		for _, worker := range workers {
			held, err := snapshot.RunsHeldBy(nil, worker)
			ok(t, err)
			var got []string
			for _, run := range held {
				got = append(got, run.Id)
			}
			slices.Sort(want[worker])
			if !slices.Equal(got, want[worker]) {
				t.Errorf("%s holds %v, want %v", worker, got, want[worker])
			}
		}
	}
	// The first command grants half of the runs, and each of the others ends two and grants one.
	var grants []*trellisv1.Grant
	for run := range runs / 2 {
		grants = append(grants, &trellisv1.Grant{Study: "s", Run: largeRunID(run), Worker: workers[run%2]})
		attempts[AttemptNumber(index+1, run)] = run
	}
	index++
	for _, err := range store.Grant(index, at(index), grants) {
		ok(t, err)
	}
	check()
	for next := runs / 2; len(attempts) > 0; next++ {
		index++
		var entries []*trellisv1.RecordCommand_Entry
		for _, attempt := range slices.Sorted(maps.Keys(attempts))[:min(2, len(attempts))] {
			entries = append(entries, returnEntry("s", largeRunID(attempts[attempt]), attempt))
			delete(attempts, attempt)
		}
		grants = nil
		if next < runs {
			grants = []*trellisv1.Grant{{Study: "s", Run: largeRunID(next), Worker: workers[next%2]}}
			attempts[AttemptNumber(index, 0)] = next
		}
		for _, err := range store.RecordAndGrant(index, at(index), trajectory.LatestRules, entries, grants) {
			ok(t, err)
		}
		check()
	}
	for _, table := range []string{tableLeases, tableHeld} {
		if rows, err := all[*leases](store.Snapshot().reader, nil, table, indexID, nil); err != nil || len(rows) > 0 {
			t.Errorf("table %s has %d rows after all leases have ended, %v", table, len(rows), err)
		}
	}
}
