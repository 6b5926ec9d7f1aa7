package describe

import (
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

func TestWaitingFor(t *testing.T) {
	for _, test := range []struct {
		why        *trellisv1.WaitingFor
		want, word string
	}{
		{nil, "", ""},
		{
			&trellisv1.WaitingFor{Reason: trellisv1.WaitingReason_WAITING_REASON_DATA_CHANGED, Found: "12ab"},
			"its data set: digits has changed since the study was created. Restore its files, or cancel the study and " +
				"submit it under another name", "data_changed",
		},
		{
			&trellisv1.WaitingFor{
				Reason: trellisv1.WaitingReason_WAITING_REASON_DATA_MISSING, Message: "unknown data set: there is mnist",
			},
			"its data set: the coordinator can't use digits: unknown data set: there is mnist. Restore its files, or start " +
				"the coordinator with the --data-sets folder that has them", "data_missing",
		},
		{
			&trellisv1.WaitingFor{
				Reason: trellisv1.WaitingReason_WAITING_REASON_WEIGHTS_MISSING, Message: "no such artifact",
			},
			"its pretrained weights: the coordinator can't use those of trial 3 of study paper: no such artifact. Start the " +
				"coordinator with the artifacts (--artifacts) that have them, or cancel the study", "weights_missing",
		},
		{
			&trellisv1.WaitingFor{Reason: trellisv1.WaitingReason_WAITING_REASON_LABELS_MISSING},
			"a worker with the labels gpu=a100 zone=b: start one with trellis worker --label gpu=a100 --label zone=b. See " +
				"trellis workers for what there is", "labels_missing",
		},
		{
			&trellisv1.WaitingFor{Reason: trellisv1.WaitingReason_WAITING_REASON_TOO_LARGE, Memory: 4 << 30},
			"a worker with 4.0 GiB of memory, for a run of the largest network and its data. See trellis workers for what there is",
			"too_large",
		},
		{
			&trellisv1.WaitingFor{
				Reason: trellisv1.WaitingReason_WAITING_REASON_TOO_LARGE, Memory: 5 << 30, LargestMemory: 2 << 30,
			},
			"a worker with 5.0 GiB of memory, for a run of the largest network and its data; the largest worker that may train it " +
				"has 2.0 GiB. See trellis workers for what there is", "too_large",
		},
		{
			&trellisv1.WaitingFor{
				Reason: trellisv1.WaitingReason_WAITING_REASON_TOO_LARGE, Memory: 5 << 30, LargestMemory: 5<<30 - 1,
			},
			"a worker with 5.0 GiB of memory, for a run of the largest network and its data; the largest worker that may train it " +
				"has a little less. See trellis workers for what there is", "too_large",
		},
	} {
		study := &trellisv1.Study{
			Spec:    &trellisv1.StudySpec{Workers: map[string]string{"zone": "b", "gpu": "a100"}},
			DataSet: &trellisv1.DataSet{Name: "digits"}, WaitingFor: test.why,
			Pretrained: &trellisv1.Source{Study: "paper", Trial: 3},
		}
		if got := WaitingFor(study); got != test.want {
			t.Errorf("%v: %q, want %q", test.why, got, test.want)
		}
		if got := waitingWord(study); got != test.word {
			t.Errorf("%v: %q, want %q", test.why, got, test.word)
		}
	}
}
