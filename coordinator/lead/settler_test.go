package lead

import (
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// TestAwaitsSettling: only what is RUNNING, has come to its end, and is to be settled.
func TestAwaitsSettling(t *testing.T) {
	study := func(change func(*trellisv1.Study)) *trellisv1.Study {
		s := &trellisv1.Study{
			State:    trellisv1.StudyState_STUDY_STATE_RUNNING,
			Spec:     &trellisv1.StudySpec{Name: "s", Settle: &trellisv1.Settle{}},
			Progress: &trellisv1.Progress{Runs: 4, RunsSucceeded: 1, RunsFailed: 1, RunsPruned: 1, RunsCanceled: 1},
		}
		change(s)
		return s
	}
	for name, test := range map[string]struct {
		change func(*trellisv1.Study)
		want   bool
	}{
		"at its end": {func(*trellisv1.Study) {}, true},
		"paused":     {func(s *trellisv1.Study) { s.State = trellisv1.StudyState_STUDY_STATE_PAUSED }, false},
		"going on":   {func(s *trellisv1.Study) { s.Progress.Runs++ }, false},
		"settled":    {func(s *trellisv1.Study) { s.Settled = true }, false},
		"no settle":  {func(s *trellisv1.Study) { s.Spec.Settle = nil }, false},
	} {
		if got := awaitsSettling(study(test.change)); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
