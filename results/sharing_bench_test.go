package results

import (
	"fmt"
	"testing"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// BenchmarkCreateStudy measures studies of many runs: alone, beside a study that has none of their runs, and beside one
// that has trained them all, so that each is done at once. Run it with -benchtime 1x.
func BenchmarkCreateStudy(b *testing.B) {
	for _, runs := range []int{10_000, 1_000_000} {
		for _, other := range []string{"none", "unrelated", "trained"} {
			b.Run(fmt.Sprintf("runs=%d/other=%s", runs, other), func(b *testing.B) {
				const epochs = 5
				store := newStore(b)
				switch other {
				case "unrelated":
					its, trials := largeStudy(runs, epochs)
					for i, run := range its {
						run.Id += " of others"
						trials[i].Run = run.Id
					}
					ok(b, store.CreateListed(1, at(1), &trellisv1.Study{Name: "other"}, its, trials))
				case "trained":
					loadStudy(b, store, "other", runs, epochs)
				}
				its, trials := largeStudy(runs, epochs)
				index := uint64(1_000_000)
				for b.Loop() {
					ok(b, store.CreateListed(index, at(index), &trellisv1.Study{Name: "study"}, its, trials))
					b.StopTimer()
					study, err := store.Snapshot().Study(nil, "study")
					ok(b, err)
					if done := study.State == lifecycle.StudyCompleted; done != (other == "trained") {
						b.Fatalf("the study is %v", study.State)
					}
					ok(b, store.DeleteStudy(index+1, "study", 0, 0))
					index += 2
					b.StartTimer()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*runs), "ns/run")
			})
		}
	}
}

// BenchmarkRecordShared measures columns of one epoch, recorded in batches, of a study alone, beside one that has none
// of its runs, and beside one that follows.
func BenchmarkRecordShared(b *testing.B) {
	for _, other := range []string{"none", "unrelated", "follows"} {
		b.Run("other="+other, func(b *testing.B) {
			const runs, maxEpochs, batch = 10_000, 10_000, 1000
			store := newStore(b)
			index := createLarge(b, store, "study", runs, maxEpochs)
			attempts := make([]uint64, runs)
			for i := range attempts {
				attempts[i] = grant1(b, store, index, "study", largeRunID(i), "worker")
				index++
			}
			if other != "none" {
				its, trials := largeStudy(runs, maxEpochs)
				if other == "unrelated" {
					for i, run := range its {
						run.Id += " of others"
						trials[i].Run = run.Id
					}
				}
				ok(b, store.CreateListed(index, at(index), &trellisv1.Study{Name: "other"}, its, trials))
				index++
			}
			entries := make([]*trellisv1.RecordCommand_Entry, batch)
			for j := range entries {
				entries[j] = columnEntry("study", "", 0, 1, []float64{0.5}, []float64{0.5}, nil)
			}
			columns := 0
			began := time.Now()
			for b.Loop() {
				for _, entry := range entries {
					reports, run := entry.GetReports(), columns%runs
					reports.Run, reports.Attempt, reports.FirstEpoch = largeRunIDs[run], attempts[run], uint32(columns/runs+1)
					columns++
				}
				record(b, store, index, entries...)
				index++
			}
			b.ReportMetric(float64(time.Since(began).Nanoseconds())/float64(columns), "ns/column")
		})
	}
}

// BenchmarkCreateMany measures a study among many others of the same model: those that have no run in common differ in one
// parameter.
func BenchmarkCreateMany(b *testing.B) {
	for _, studies := range []int{500, 1000, 2000, 4000} {
		b.Run(fmt.Sprint("studies=", studies), func(b *testing.B) {
			for b.Loop() {
				store := newStore(b)
				for i := range studies {
					study := indexedStudy(fmt.Sprint("study-", i), 200, 3)
					study.Spec.Grid[0].Axes["weight_decay"] = trellisv1.AxisOf(float64(i+1) * 1e-3)
					ok(b, store.CreateStudy(uint64(i+1), at(uint64(i+1)), study))
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*studies), "us/study")
		})
	}
}
