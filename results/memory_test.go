package results

import (
	"bytes"
	"fmt"
	"reflect"
	"runtime"
	"runtime/debug"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/account"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// loadStudy creates a study of as many runs as trials, and trains every run for the given number of epochs.
func loadStudy(t testing.TB, store *Store, name string, count int, epochs uint32) {
	t.Helper()
	trainLarge(t, store, name, createLarge(t, store, name, count, epochs), count, epochs)
}

// trainLarge trains the runs of a study that createLarge has made, from the given log index on.
func trainLarge(t testing.TB, store *Store, name string, index uint64, count int, epochs uint32) {
	t.Helper()
	trainInOrder(t, store, name, index, count, epochs, func(n, first int) (grants []*trellisv1.Grant) {
		for i := range n {
			grants = append(grants, &trellisv1.Grant{Study: name, Run: largeRunID(first + i), Worker: "worker"})
		}
		return grants
	})
}

// trainNext trains the runs of a study in the order in which they are granted.
func trainNext(t testing.TB, store *Store, name string, index uint64, count int, epochs uint32) {
	t.Helper()
	trainInOrder(t, store, name, index, count, epochs, func(n, _ int) (grants []*trellisv1.Grant) {
		next, err := store.Snapshot().NextRuns(nil, n)
		ok(t, err)
		for _, run := range next {
			place, err := store.Snapshot().Place(run)
			ok(t, err)
			grants = append(grants, &trellisv1.Grant{Study: name, Run: run.Id, Worker: "worker", Place: &place})
		}
		return grants
	})
}

// trainInOrder trains runs that are granted by so many at once.
func trainInOrder(
	t testing.TB, store *Store, name string, index uint64, count int, epochs uint32,
	grantsOf func(n, first int) []*trellisv1.Grant,
) {
	t.Helper()
	// The entries of a command are made once and sent again with other values, since the store keeps none of them.
	var entries []*trellisv1.RecordCommand_Entry
	for range min(count, MaxGrants) {
		entries = append(entries, columnEntry(name, "", 0, 1, make([]float64, epochs), make([]float64, epochs),
			map[uint32]float64{}),
			successEntry(name, "", 0, epochs))
	}
	for first := 0; first < count; first += MaxGrants {
		grants := grantsOf(min(MaxGrants, count-first), first)
		for _, err := range store.Grant(index, at(index), grants) {
			ok(t, err)
		}
		for place, grant := range grants {
			attempt := AttemptNumber(index, place)
			reports := entries[2*place].GetReports()
			reports.Run, reports.Attempt = grant.Run, attempt
			for epoch := range reports.TrainLoss {
				reports.TrainLoss[epoch] = 2 / float64(epoch+2)
				reports.ValidationLoss[epoch] = 1 / float64(first+place+epoch+2)
			}
			reports.TestLoss[epochs] = reports.ValidationLoss[epochs-1]
			outcome := entries[2*place+1].GetOutcome()
			outcome.Run, outcome.Attempt = grant.Run, attempt
		}
		record(t, store, index+1, entries[:2*len(grants)]...)
		index += 2
	}
}

// createLarge creates a study with one trial per run and a worker with a slot for each of them. It returns the next
// free log index.
func createLarge(t testing.TB, store *Store, name string, count int, epochs uint32) uint64 {
	t.Helper()
	runs, trials := largeStudy(count, epochs)
	ok(t, store.CreateListed(1, at(1), &trellisv1.Study{Name: name, Spec: modelSpec()}, runs,
		trials))
	ok(t, store.SetWorker(2, at(2), trajectory.LatestRules, &trellisv1.Worker{
		Name: "worker", State: lifecycle.WorkerReady,
		Slots: uint32(count),
	}))
	return 3
}

func largeStudy(count int, epochs uint32) (runs []*trellisv1.Run, trials []*trellisv1.Trial) {
	for i := range count {
		run, its := testRun(largeRunID(i), uint32(1+i%784), uint64(i), epochs)
		runs, trials = append(runs, run), append(trials, its...)
	}
	return runs, trials
}

// indexedStudy has as many trials, a multiple of 100, each with a run of its own that follows from its spec.
func indexedStudy(name string, count int, epochs uint32) *trellisv1.Study {
	numbers := func(n int) *trellisv1.Axis {
		return &trellisv1.Axis{Linear: &trellisv1.Range{From: 1, To: float64(n), Count: uint32(n)}}
	}
	return &trellisv1.Study{Name: name, Numerics: "1", Spec: &trellisv1.StudySpec{
		Name: name, Model: "synthetic", Seeds: trellisv1.AxisOf(1), Grid: []*trellisv1.Grid{{
			Axes: map[string]*trellisv1.Axis{
				"latent_dim": numbers(100), "learning_rate": numbers(count / 100), "weight_decay": trellisv1.AxisOf(0),
				"max_epochs": trellisv1.AxisOf(int(epochs)), "batch_size": trellisv1.AxisOf(256),
			},
		}},
	}}
}

// largeRunID is as long as a digest.
func largeRunID(i int) string { return fmt.Sprintf("%064x", uint64(i)*0x9e3779b97f4a7c15) }

// TestLargeStudy loads a study of many trials, each with a run of its own, and measures what is promised of it. With
// the build tag soak, it has a million.
func TestLargeStudy(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("loads a large study")
	}
	const trials, epochs = largeStudyTrials, 10
	// Collecting garbage seldom makes the test quicker, and what it measures no smaller.
	defer debug.SetGCPercent(debug.SetGCPercent(300))
	perTrial := func(what string, before uint64, limit uint64) {
		t.Helper()
		used := (heap() - before) / trials
		t.Logf("%s: %d bytes a trial, %d MiB", what, used, used*trials>>20)
		if used > limit {
			t.Errorf("that is more than %d bytes", limit)
		}
	}
	within := func(what string, limit time.Duration, do func() error) {
		t.Helper()
		begin, processor := time.Now(), processorTime()
		ok(t, do())
		took := time.Since(begin)
		t.Logf("%s: %v, of processors %v", what, took.Round(10*time.Microsecond), processorTime()-processor)
		if took > limit {
			t.Errorf("that is longer than %v", limit)
		}
	}
	before := heap()
	store := newStore(t)
	within("creating", time.Minute, func() error { return store.CreateStudy(1, at(1), indexedStudy("large", trials, epochs)) })
	ok(t, store.SetWorker(2, at(2), trajectory.LatestRules,
		&trellisv1.Worker{Name: "worker", State: lifecycle.WorkerReady, Slots: trials}))
	perTrial("before the first epoch", before, 10)
	page := func(orderBy, filter string) func() error {
		return func() error {
			_, err := store.Snapshot().ListTrials(&trellisv1.ListTrialsRequest{
				Study: "large", OrderBy: orderBy,
				Filter: filter,
			})
			return err
		}
	}
	within("a page by objective, of none", 10*time.Second, page("objective", ""))
	within("training", time.Minute, func() error { trainNext(t, store, "large", 3, trials, epochs); return nil })
	study, err := store.Snapshot().Study(nil, "large")
	ok(t, err)
	if study.State != lifecycle.StudyCompleted || study.Progress.TrialsSucceeded != trials ||
		study.Progress.Epochs != trials*epochs {
		t.Fatalf("the study is not all there: %v, %v", study.State, study.Progress)
	}
	perTrial("all done", before, 400)
	within("best", 10*time.Millisecond, func() error { return AskInsight.Best(store.Snapshot(), "large") })
	within("a page by index", 20*time.Millisecond, page("", ""))
	within("a page by objective", 20*time.Millisecond, page("objective", ""))
	within("a page by objective from the last", 10*time.Second, page("-objective", ""))
	within("a page by learning rate", 10*time.Second, page("learning_rate", ""))
	within("a page with a filter", 20*time.Second, page("objective", "latent_dim == 16"))
	within("a page of configurations", 10*time.Second, func() error {
		return AskInsight.Configurations(store.Snapshot(), "large")
	})
	within("a report", 20*time.Second, func() error { return AskInsight.Report(store.Snapshot(), "large") })
	within("what changed since the last command", 100*time.Millisecond, func() error {
		_, err := store.Snapshot().RunsChangedSince("large", study.ModifyIndex)
		return err
	})
	var data bytes.Buffer
	within("writing", time.Minute, func() error { _, err := store.Snapshot().WriteTo(&data); return err })
	t.Logf("%d MiB are written", data.Len()>>20)
	before = heap()
	restored := newStore(t)
	within("restoring", time.Minute, func() error { return restored.Restore(bytes.NewReader(data.Bytes())) })
	perTrial("restored", before, 400)
	within("a page of what was restored", 500*time.Millisecond, func() error {
		_, err := restored.Snapshot().ListTrials(&trellisv1.ListTrialsRequest{Study: "large", OrderBy: "-objective"})
		return err
	})
	runtime.KeepAlive(store)
	runtime.KeepAlive(&data)
	runtime.KeepAlive(restored)
}

// TestRestorePrepares: sealed sections that are restored have what answers need of them, from the runs that they have.
func TestRestorePrepares(t *testing.T) {
	const trials = 50 * sectionSize
	store := newStore(t)
	ok(t, store.CreateStudy(1, at(1), indexedStudy("large", trials, 2)))
	ok(t, store.SetWorker(2, at(2), trajectory.LatestRules,
		&trellisv1.Worker{Name: "worker", State: lifecycle.WorkerReady, Slots: trials}))
	trainNext(t, store, "large", 3, trials, 2)
	var data bytes.Buffer
	_, err := store.Snapshot().WriteTo(&data)
	ok(t, err)
	restored := newStore(t)
	ok(t, restored.Restore(&data))
	sections, err := restored.Snapshot().sectionsOf("large")
	ok(t, err)
	ready := 0
	for section := range sections {
		if section.sealed != nil && section.kept.columns.Has() && section.kept.account.Has() {
			ready++
		}
	}
	if ready != trials/sectionSize {
		t.Fatalf("%d sections are ready, want %d", ready, trials/sectionSize)
	}
	c, err := store.Snapshot().catalog("large")
	ok(t, err)
	for number := range uint32(trials / sectionSize) {
		of := func(s *Store) *account.Sum {
			its, err := first[*section](s.Snapshot().reader, nil, tableSections, indexID, sectionKey("large", number))
			ok(t, err)
			return its.account(c)
		}
		if got, want := of(restored), of(store); !reflect.DeepEqual(got, want) {
			t.Errorf("section %d counts for %+v, want %+v", number, got, want)
		}
	}
	for _, orderBy := range []string{"-objective", "epochs", "test_loss"} {
		request := &trellisv1.ListTrialsRequest{Study: "large", OrderBy: orderBy}
		want, err := store.Snapshot().ListTrials(request)
		ok(t, err)
		got, err := restored.Snapshot().ListTrials(request)
		ok(t, err)
		if !proto.Equal(got, want) {
			t.Errorf("by %s %v, want %v", orderBy, got, want)
		}
	}
}

// processorTime is what the process has had of all processors: on a machine that does other things too, it says more
// than the time on the wall.
func processorTime() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Round(100 * time.Microsecond)
}

func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
