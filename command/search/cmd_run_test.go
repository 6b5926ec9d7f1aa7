package search

import (
	"fmt"
	"strings"
	"testing"

	"trellis/command/fake"
	trellisv1 "trellis/proto/trellis/v1"
)

// Whether a study can be trained here is decided by the workers of this command. Those of an earlier start that was
// killed are listed as READY until their leases end, and may have had a larger or a smaller part of the machine.
func TestFitsItsOwnWorkers(t *testing.T) {
	worker := func(name string, memory uint64) *trellisv1.Worker {
		return &trellisv1.Worker{
			Name: name, State: trellisv1.WorkerState_WORKER_STATE_READY, Slots: 1,
			Capacity: &trellisv1.Capacity{Memory: memory << 30},
		}
	}
	study := &trellisv1.Study{
		Name: "large", Spec: &trellisv1.StudySpec{Name: "large", Model: "conv-autoencoder"},
		Network: &trellisv1.ModelSize{Memory: 3 << 30},
	}
	for name, test := range map[string]struct {
		listed []*trellisv1.Worker
		own    []string
		want   string
	}{
		"one": {[]*trellisv1.Worker{worker("local-1-a", 4)}, []string{"local-1-a"}, ""},
		"one after two": {
			[]*trellisv1.Worker{worker("local-1-a", 2), worker("local-1-b", 4), worker("local-2-a", 2)},
			[]string{"local-1-b"},
			"",
		},
		"two after one": {
			[]*trellisv1.Worker{worker("local-1-a", 4), worker("local-1-b", 2), worker("local-2-b", 2)},
			[]string{"local-1-b", "local-2-b"},
			"each of 2 workers has less",
		},
		"one that is too small": {
			[]*trellisv1.Worker{worker("local-1-a", 2)}, []string{"local-1-a"}, "this machine has less",
		},
	} {
		c := connect(t, (&fake.Coordinator{Study: study, Workers: test.listed}).Serve(t))
		err := fits(t.Context(), c, study.GetSpec(), test.own)
		if said := fmt.Sprint(err); (err != nil) != (test.want != "") || !strings.Contains(said, test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}
