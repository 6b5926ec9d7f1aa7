package studies

import (
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// What no worker has the memory for is said where a study is submitted and shown, also while another of its runs is
// trained.
func TestMissingMemoryIsSaid(t *testing.T) {
	tooLarge := &trellisv1.WaitingFor{Reason: trellisv1.WaitingReason_WAITING_REASON_TOO_LARGE, Memory: 5 << 30}
	for _, test := range []struct {
		why             *trellisv1.WaitingFor
		running         uint64
		slots           uint32
		submitted, page string
	}{
		{tooLarge, 0, 0, "a worker with 5.0 GiB of memory", "a worker with 5.0 GiB of memory"},
		{tooLarge, 1, 1, "a worker with 5.0 GiB of memory", "a worker with 5.0 GiB of memory"},
		{nil, 0, 0, "a worker: trellis worker", "a worker: trellis worker"},
		{nil, 0, 1, "", "a free slot"},
		{nil, 1, 1, "", ""},
	} {
		study := &trellisv1.Study{
			Name: "s", Spec: &trellisv1.StudySpec{Model: "conv-autoencoder"}, State: trellisv1.StudyState_STUDY_STATE_RUNNING,
			Progress: &trellisv1.Progress{RunsRunning: test.running, EpochsLeft: 9}, WaitingFor: test.why,
			Forecast: &trellisv1.Forecast{Slots: test.slots},
		}
		for where, said := range map[string][2]string{
			"submitted": {missing(study, ""), test.submitted}, "shown": {waitsFor(study, ""), test.page},
		} {
			if got, want := said[0], said[1]; !strings.HasPrefix(got, want) || got != "" && want == "" {
				t.Errorf("%s with %d runs that are trained, waiting for %v: %q, want %q", where, test.running, test.why, got, want)
			}
		}
	}
}
