//go:build !race

package studies

import (
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// Where all epochs are trained, it is said what a study still waits for.
func TestUnendedRunsAreSaid(t *testing.T) {
	const running, completed = trellisv1.StudyState_STUDY_STATE_RUNNING, trellisv1.StudyState_STUDY_STATE_COMPLETED
	model, program := &trellisv1.StudySpec{}, &trellisv1.StudySpec{Program: &trellisv1.Program{}}
	for _, test := range []struct {
		state    trellisv1.StudyState
		spec     *trellisv1.StudySpec
		progress *trellisv1.Progress
		want     string
	}{
		{running, model, &trellisv1.Progress{Runs: 3, RunsSucceeded: 1, RunsFailed: 1}, "1 run: all epochs"},
		{running, model, &trellisv1.Progress{Runs: 3, RunsSucceeded: 1, EpochsLeft: 1}, ""},
		{running, model, &trellisv1.Progress{Runs: 1, RunsSucceeded: 1, AuditsDue: 1}, ""},
		{running, program, &trellisv1.Progress{Runs: 1}, ""},
		{completed, model, &trellisv1.Progress{Runs: 1}, ""},
	} {
		got := unended(&trellisv1.Study{State: test.state, Spec: test.spec, Progress: test.progress})
		if !strings.HasPrefix(got, test.want) || got != "" && test.want == "" {
			t.Errorf("%v with %v: %q, want %q", test.state, test.progress, got, test.want)
		}
	}
}
