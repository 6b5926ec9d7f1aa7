package lead

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

func failed(study, run string, class trellisv1.FailureClass) *trellisv1.Outcome {
	return &trellisv1.Outcome{Study: study, Run: run, Result: &trellisv1.Outcome_Failure{
		Failure: &trellisv1.Failure{Class: class, Message: "why"},
	}}
}

func succeeded(study, run string) *trellisv1.Outcome {
	return &trellisv1.Outcome{Study: study, Run: run, Result: &trellisv1.Outcome_Success_{
		Success: &trellisv1.Outcome_Success{},
	}}
}

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
				f.ended("w", failed("s", fmt.Sprint(n), class))
				if f.avoids("w", "s", time.Now()) {
					got = n
				}
			}
			if got != want {
				t.Errorf("%v: avoided after %d failures, want %d", class, got, want)
			}
		})
	}
}

// Who is avoided, and by whom: "s" by study s alone, "*" by all, "" by none.
func TestFailingBlames(t *testing.T) {
	const trainer, worker = trellisv1.FailureClass_FAILURE_CLASS_TRAINER, trellisv1.FailureClass_FAILURE_CLASS_WORKER
	type step struct {
		worker  string
		outcome *trellisv1.Outcome
	}
	streak := []step{
		{"w", failed("s", "a", trainer)}, {"w", failed("s", "b", trainer)}, {"w", failed("s", "c", trainer)},
	}
	for _, test := range []struct {
		name  string
		steps []step
		want  string
	}{
		{"two runs fail by turns", []step{
			{"w", failed("s", "a", trainer)},
			{"w", failed("s", "b", trainer)},
			{"w", failed("s", "a", trainer)},
			{"w", failed("s", "b", trainer)},
		}, ""},
		{"runs of three studies", []step{
			{"w", failed("s", "a", trainer)}, {"w", failed("t", "b", trainer)}, {"w", failed("u", "c", trainer)},
		}, ""},
		{"three runs of a study", streak, "s"},
		{"a success in between", append([]step{
			{"w", failed("s", "y", trainer)}, {"w", failed("s", "z", trainer)}, {"w", succeeded("s", "z")},
		}, streak[1:]...), ""},
		{"one has succeeded elsewhere", append([]step{
			{"w", failed("s", "a", trainer)}, {"good", succeeded("s", "a")},
		}, streak[1:]...), "*"},
		{"one succeeds elsewhere", append(streak, step{"good", succeeded("s", "b")}), "*"},
		{"another run succeeds elsewhere", append(streak, step{"good", succeeded("s", "z")}), "s"},
		{"a run of another study succeeds here", append(streak, step{"good", succeeded("s", "b")},
			step{"w", succeeded("t", "a")}), "s"},
		{"it says so itself", []step{{"w", failed("s", "a", worker)}}, "s"},
		{"it says so itself, of one study", []step{{"w", failed("s", "a", worker)}, {"w", succeeded("t", "a")}}, "s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFailing(slog.New(slog.DiscardHandler))
				for _, step := range test.steps {
					f.ended(step.worker, step.outcome)
				}
				now := time.Now()
				if got := f.avoids("w", "s", now); got != (test.want != "") {
					t.Errorf("for its own study avoided: %v", got)
				}
				if got := f.avoids("w", "healthy", now); got != (test.want == "*") {
					t.Errorf("for another study avoided: %v", got)
				}
				if f.avoids("good", "s", now) {
					t.Error("the good one is avoided")
				}
				told := f.avoided("w", now)
				if test.want == "" && told != nil || test.want == "*" && (len(told) != 1 || told[0].GetStudy() != "") ||
					test.want == "s" && (len(told) != 1 || told[0].GetStudy() != "s" || told[0].GetMessage() != "why") {
					t.Errorf("told is %v", told)
				}
				if later := f.avoided("w", now.Add(avoidAtFirst)); later != nil || f.avoids("w", "s", now.Add(avoidAtFirst)) {
					t.Errorf("after %v it is still avoided: %v", avoidAtFirst, later)
				}
			})
		})
	}
}

// A run that its program hands back waits longer each time, and alone. One that ends otherwise begins again.
func TestFailingLetsRunsRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFailing(slog.New(slog.DiscardHandler))
		for want := restAtFirst; want < 2*avoidAtMost; want *= 2 {
			f.ended("w", failed("s", "a", trellisv1.FailureClass_FAILURE_CLASS_RETURNED))
			began := time.Now()
			for f.resting("s", "a", time.Now()) {
				time.Sleep(time.Second)
			}
			if got := time.Since(began); got != min(want, avoidAtMost) {
				t.Errorf("waited %v, want %v", got, want)
			}
		}
		f.ended("w", failed("s", "a", trellisv1.FailureClass_FAILURE_CLASS_RETURNED))
		if f.resting("s", "b", time.Now()) || f.avoids("w", "s", time.Now()) {
			t.Error("another run must wait")
		}
		f.ended("w", succeeded("s", "a"))
		if f.resting("s", "a", time.Now()) {
			t.Error("a run that has succeeded must wait")
		}
	})
}
