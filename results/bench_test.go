package results

import (
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// BenchmarkRecord measures reports that are recorded in batches, as leader loops do, for a study of 10,000 runs of which
// 1,000 are being trained.
func BenchmarkRecord(b *testing.B) {
	for _, bench := range []struct {
		name  string
		batch int
	}{{"batch=1", 1}, {"batch=100", 100}, {"batch=1000", 1000}} {
		b.Run(bench.name, func(b *testing.B) {
			const runs, held, epochs = 10_000, 1000, 10_000
			store := newStore(b)
			index := createLarge(b, store, "study", runs, epochs)
			attempts := make([]uint64, held)
			for i := range attempts {
				ok(b, store.Grant(index, at(index), "study", largeRunID(i), "worker"))
				attempts[i] = index
				index++
			}
			reports := 0
			for b.Loop() {
				entries := make([]*trellisv1.RecordCommand_Entry, bench.batch)
				for j := range entries {
					run, epoch := reports%held, reports/held+1
					entries[j] = reportEntry("study", largeRunID(run), attempts[run], uint32(epoch), 1, 1/float64(epoch), nil)
					reports++
				}
				record(b, store, index, entries...)
				index++
			}
			b.ReportMetric(float64(reports)/b.Elapsed().Seconds(), "reports/s")
		})
	}
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
