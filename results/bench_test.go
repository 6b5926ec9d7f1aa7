package results

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

// BenchmarkRecord measures columns of reports that are recorded in batches, as leader loops do: each of another of the
// 10,000 runs that are being trained.
func BenchmarkRecord(b *testing.B) {
	for _, bench := range []struct{ batch, epochs int }{{1, 1}, {100, 1}, {1000, 1}, {1000, 50}} {
		b.Run(fmt.Sprintf("batch=%d/epochs=%d", bench.batch, bench.epochs), func(b *testing.B) {
			const runs, maxEpochs = 10_000, 10_000
			store := newStore(b)
			index := createLarge(b, store, "study", runs, maxEpochs)
			attempts := make([]uint64, runs)
			for i := range attempts {
				attempts[i] = grant1(b, store, index, "study", largeRunID(i), "worker")
				index++
			}
			entries := make([]*trellisv1.RecordCommand_Entry, bench.batch)
			for j := range entries {
				losses := slices.Repeat([]float64{0.5}, bench.epochs)
				entries[j] = columnEntry("study", "", 0, 1, losses, losses, nil)
			}
			columns := 0
			for b.Loop() {
				for _, entry := range entries {
					reports, run := entry.GetReports(), columns%runs
					reports.Run, reports.Attempt = largeRunIDs[run], attempts[run]
					reports.FirstEpoch = uint32(columns/runs*bench.epochs + 1)
					columns++
				}
				record(b, store, index, entries...)
				index++
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(columns), "ns/column")
			b.ReportMetric(float64(columns*bench.epochs)/b.Elapsed().Seconds(), "epochs/s")
		})
	}
}

// largeRunIDs are those of the runs of the benchmarks.
var largeRunIDs = func() (ids []string) {
	for i := range 10_000 {
		ids = append(ids, largeRunID(i))
	}
	return ids
}()

// BenchmarkRestore measures the restore of a study of which 100,000 runs are trained.
func BenchmarkRestore(b *testing.B) {
	const runs = 100_000
	var written bytes.Buffer
	_, err := newHalfTrained(b, 2*runs).Snapshot().WriteTo(&written)
	ok(b, err)
	store := newStore(b)
	for b.Loop() {
		ok(b, store.Restore(bytes.NewReader(written.Bytes())))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/runs, "ns/run")
}

// BenchmarkGrant measures grants in batches of 1000, each given back in a command of its own.
func BenchmarkGrant(b *testing.B) {
	const runs, batch = 10_000, 1000
	store := newStore(b)
	index := createLarge(b, store, "study", runs, 50)
	grants := make([]*trellisv1.Grant, batch)
	returns := make([]*trellisv1.RecordCommand_Entry, batch)
	var granting time.Duration
	for b.Loop() {
		for i := range grants {
			id := largeRunIDs[(int(index)*batch+i)%runs]
			grants[i] = &trellisv1.Grant{Study: "study", Run: id, Worker: "worker"}
			returns[i] = returnEntry("study", id, AttemptNumber(index, i))
		}
		begin := time.Now()
		for _, err := range store.Grant(index, at(index), grants) {
			ok(b, err)
		}
		granting += time.Since(begin)
		record(b, store, index+1, returns...)
		index += 2
	}
	b.ReportMetric(float64(granting.Nanoseconds())/float64(b.N*batch), "ns/grant")
}

// BenchmarkListTrials measures a page of 100 out of 100,000 trials.
func BenchmarkListTrials(b *testing.B) {
	store := newStore(b)
	createLarge(b, store, "study", 100_000, 50)
	for _, bench := range []struct {
		name    string
		request *trellisv1.ListTrialsRequest
	}{
		{"order=index", &trellisv1.ListTrialsRequest{Study: "study"}},
		{"order=objective", &trellisv1.ListTrialsRequest{Study: "study", OrderBy: "objective"}},
		{"filter", &trellisv1.ListTrialsRequest{Study: "study", Filter: "latent_dim == 16 && state == 'pending'"}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := store.Snapshot().ListTrials(bench.request); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
