package lead

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

// A worker that says that it can't train is avoided at once; one on which a run fails for its input's sake never is.
func TestFailingByClass(t *testing.T) {
	for class, want := range map[trellisv1.FailureClass]int{
		trellisv1.FailureClass_FAILURE_CLASS_WORKER:  1,
		trellisv1.FailureClass_FAILURE_CLASS_TRAINER: failingRuns,
		trellisv1.FailureClass_FAILURE_CLASS_INPUT:   -1,
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFailing(slog.New(slog.DiscardHandler))
			got := -1
			for n := 1; n <= 2*failingRuns && got < 0; n++ {
				f.ended("w", &trellisv1.Outcome{Study: "s", Run: string(rune('a' + n)), Result: &trellisv1.Outcome_Failure{
					Failure: &trellisv1.Failure{Class: class},
				}})
				if f.avoided("w", time.Now()) {
					got = n
				}
			}
			if got != want {
				t.Errorf("%v: avoided after %d failures, want %d", class, got, want)
			}
		})
	}
}
