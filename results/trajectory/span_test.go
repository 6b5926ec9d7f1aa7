package trajectory

import (
	"testing"

	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// TestSealedSpan: the span that is read from a sealed run is that of the run.
func TestSealedSpan(tb *testing.T) {
	rapid.Check(tb, func(t *rapid.T) {
		// Attempt 0 is one that is not known.
		number, attempt := rapid.Uint64Range(1, 1<<40), rapid.Uint64Range(0, 1<<40)
		run := &trellisv1.Run{
			Id: "r", Parameters: &trellisv1.Parameters{MaxEpochs: 200}, Milestones: []uint32{1, 2, 130, 200}, Epochs: 1,
			State: lifecycle.RunSucceeded, ModifyIndex: number.Draw(t, "changed"), Error: "x",
		}
		for range rapid.IntRange(0, 3).Draw(t, "trainings") {
			run.Trainings = append(run.Trainings, &trellisv1.Training{Attempt: attempt.Draw(t, "attempt"), Worker: "w"})
		}
		for range rapid.IntRange(0, 3).Draw(t, "failures") {
			run.Failures = append(run.Failures, &trellisv1.Failure{Attempt: attempt.Draw(t, "failed"), Message: "m"})
		}
		its := &Trajectory{Run: run, Losses: &trellisv1.Losses{TrainLoss: []float64{1}, ValidationLoss: []float64{1}}}
		its.AnswerRest([]uint64{0, 1, 2, 3})
		sealed, err := Seal([]*Trajectory{its}, func(int) []uint64 { return []uint64{0, 1, 2, 3} })
		if err != nil {
			t.Fatal(err)
		}
		if got, err := sealed.Span(0); err != nil || got != SpanOf(its) {
			t.Fatalf("%+v, %v, want %+v", got, err, SpanOf(its))
		}
		cut := sealed.data[:rapid.IntRange(0, len(sealed.data)-1).Draw(t, "cut")]
		_, _ = (&Sealed{sealed.frames, cut, []uint32{uint32(len(cut))}}).Span(0) // It does not panic.
	})
}
