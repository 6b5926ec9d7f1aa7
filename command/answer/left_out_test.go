//go:build !race

package answer

import (
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// Of one trial that is left out, sentences don't speak as of several.
func TestLeftOutTrialsAgreeWithTheirNumber(t *testing.T) {
	for _, test := range []struct {
		pruned, failed    uint64
		missing, examined string
	}{
		{
			1, 0,
			"1 trial was left out: a heuristic pruned it, and it may be the best. Train it to the end: " +
				"trellis retry s --pruned",
			"a heuristic, median stopping, pruned 1 trial: it may be the best. Train it to the end: " +
				"trellis retry s --pruned",
		},
		{
			2, 0,
			"2 trials were left out: a heuristic pruned them, and the best may be among them. Train them to the end: " +
				"trellis retry s --pruned",
			"a heuristic, median stopping, pruned 2 trials: the best may be among them. Train them to the end: " +
				"trellis retry s --pruned",
		},
		{
			1, 1,
			"2 trials without a result were left out: a heuristic pruned one of them, and it may be the best. " +
				"Train it to the end: trellis retry s --pruned",
			"",
		},
		{
			2, 1,
			"3 trials without a result were left out: a heuristic pruned 2 of them, and the best may be among those." +
				" Train them to the end: trellis retry s --pruned",
			"",
		},
	} {
		study := &trellisv1.Study{
			Name: "s", State: trellisv1.StudyState_STUDY_STATE_COMPLETED,
			Spec: &trellisv1.StudySpec{Pruning: &trellisv1.Pruning{
				Method: &trellisv1.Pruning_Median{Median: &trellisv1.MedianStopping{}},
			}},
			Progress: &trellisv1.Progress{
				Trials: 5 + test.pruned + test.failed, TrialsSucceeded: 5, TrialsPruned: test.pruned,
				TrialsFailed: test.failed,
			},
		}
		if got := describeMissing(study, true); got != test.missing {
			t.Errorf("got %q, want %q", got, test.missing)
		}
		got := describeExactness(&trellisv1.Report{Study: study, Pruned: test.pruned}, true)
		if test.examined != "" && got != test.examined {
			t.Errorf("got %q, want %q", got, test.examined)
		}
	}
}
