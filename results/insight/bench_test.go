package insight

import (
	"fmt"
	"slices"
	"testing"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

// BenchmarkInsight asks of a million trials what matters, and what is to follow.
func BenchmarkInsight(b *testing.B) {
	// A full grid of 100 latent dimensions, learning rates and weight decays.
	points := make([]trainedTrial, 1_000_000)
	for i := range points {
		points[i] = at1(uint32(1+i%100), float64(1+i/100%100), float64(i/10_000), 1/float64(i+2))
	}
	store := newTrainedStore(b, &trellisv1.StudySpec{}, points...)
	b.Run("importance/trials=1M", func(b *testing.B) {
		for b.Loop() {
			if _, err := Importance(store.Snapshot(), &trellisv1.GetImportanceRequest{Study: "s"}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("suggest/trials=1M", func(b *testing.B) {
		for b.Loop() {
			if _, err := SuggestStudy(b.Context(), store.Snapshot(), &trellisv1.SuggestStudyRequest{Study: "s"}, nil, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkReport accounts for a study like the paper's, and for a large one.
func BenchmarkReport(b *testing.B) {
	for _, bench := range []struct{ runs, epochs int }{{36, 150}, {100_000, 10}} {
		b.Run(fmt.Sprintf("runs=%d/epochs=%d", bench.runs, bench.epochs), func(b *testing.B) {
			points := make([]trainedTrial, bench.runs)
			for i := range points {
				points[i] = at1(uint32(1+i%784), 1e-3, 1e-5, 0)
				points[i].parameters.MaxEpochs = uint32(bench.epochs)
				points[i].losses = slices.Repeat([]float64{1 / float64(i+2)}, bench.epochs)
			}
			store := newTrainedStore(b, &trellisv1.StudySpec{}, points...)
			begin := time.Now()
			for b.Loop() {
				if _, err := Report(store.Snapshot(), "s"); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(time.Since(begin).Nanoseconds())/float64(b.N*bench.runs), "ns/run")
		})
	}
}
