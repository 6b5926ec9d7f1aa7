package results

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// loadStudy creates a study of as many runs as trials, and trains every run for the given number of epochs. It returns
// the next free log index.
func loadStudy(t testing.TB, store *Store, name string, count int, epochs uint32) uint64 {
	t.Helper()
	index := createLarge(t, store, name, count, epochs)
	// The entries of a command are made once and sent again with other values, since the store keeps none of them.
	const runsPerCommand = 50
	var entries []*trellisv1.RecordCommand_Entry
	for range runsPerCommand {
		for epoch := range epochs {
			entries = append(entries, reportEntry(name, "", 0, epoch+1, 0, 0, nil))
		}
		entries = append(entries, successEntry(name, "", 0, epochs))
	}
	next := entries
	for i := range count {
		run := largeRunID(i)
		ok(t, store.Grant(index, at(index), name, run, "worker"))
		for epoch := range epochs {
			report := next[epoch].GetReport()
			report.Run, report.Attempt = run, index
			report.TrainLoss, report.ValidationLoss = 2/float64(epoch+2), 1/float64(i+int(epoch)+2)
			if epoch == epochs-1 {
				report.TestLoss = proto.Float64(report.ValidationLoss)
			}
		}
		outcome := next[epochs].GetOutcome()
		outcome.Run, outcome.Attempt = run, index
		next = next[epochs+1:]
		index++
		if len(next) == 0 || i == count-1 {
			record(t, store, index, entries[:len(entries)-len(next)]...)
			next = entries
			index++
		}
	}
	return index
}

// createLarge creates a study with one trial per run and a worker with a slot for each of them.
func createLarge(t testing.TB, store *Store, name string, count int, epochs uint32) uint64 {
	t.Helper()
	var runs []*trellisv1.Run
	var trials []*trellisv1.Trial
	for i := range count {
		run, its := testRun(largeRunID(i), uint32(1+i%784), uint64(i), epochs)
		runs, trials = append(runs, run), append(trials, its...)
	}
	ok(t, store.CreateStudy(1, at(1), &trellisv1.Study{Name: name, Spec: &trellisv1.StudySpec{Name: name}}, runs, trials))
	ok(t, store.SetWorker(2, at(2), &trellisv1.Worker{Name: "worker", State: workerReady, Slots: uint32(count)}))
	return 3
}

// largeRunID is as long as a digest.
func largeRunID(i int) string { return fmt.Sprintf("%064x", uint64(i)*0x9e3779b97f4a7c15) }

func TestMemory(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("loads five million reports")
	}
	const (
		trials = 100_000
		epochs = 50
		limit  = 1 << 30
	)
	heap := func() uint64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	// Collecting garbage seldom makes the test quicker, and what it measures no smaller.
	defer debug.SetGCPercent(debug.SetGCPercent(300))
	before := heap()
	store := newStore(t)
	loadStudy(t, store, "large", trials, epochs)
	used := heap() - before
	study, err := store.Snapshot().Study(nil, "large")
	ok(t, err)
	if study.State != studyCompleted || study.Progress.TrialsSucceeded != trials || study.Progress.Epochs != trials*epochs {
		t.Fatalf("the study is not all there: %v, %v", study.State, study.Progress)
	}
	t.Logf("%d trials of %d epochs take %d MiB, %d bytes a trial", trials, epochs, used>>20, used/trials)
	if used > limit {
		t.Errorf("that is more than %d MiB", limit>>20)
	}
	runtime.KeepAlive(store)
}
