package lead

import (
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// Runs of large networks go to workers that have the memory for them, and wait as long as there is none. Small ones go
// anywhere.
func TestLargeNetworksNeedMemory(t *testing.T) {
	const giga = 1 << 30
	leading(t, func(l *Leader, log *testLog) {
		create := func(name string, memory uint64, dims ...uint32) {
			t.Helper()
			_, err := log.ProposePatiently(log.ctx, &trellisv1.Command{Change: &trellisv1.Command_CreateStudy{
				CreateStudy: &trellisv1.CreateStudyCommand{
					Spec: grid.WithDefaults(&trellisv1.StudySpec{
						Name: name, Model: "synthetic", Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
							"latent_dim": trellisv1.AxisOf(dims...), "max_epochs": trellisv1.AxisOf[uint32](1),
						}}},
					}),
					Network: &trellisv1.ModelSize{Memory: memory},
				},
			}})
			if err != nil {
				t.Fatal(err)
			}
		}
		greet := func(name string, memory uint64) *testWorker {
			greeting := hello(name)
			greeting.Slots, greeting.Capacity = 4, &trellisv1.Capacity{Memory: memory}
			return connect(log, l, greeting)
		}
		create("large", 2*giga, 2, 4, 8)
		greet("small", giga)
		if runs := log.worker("small").GetRuns(); runs != 0 {
			t.Errorf("a worker that is too small has %d runs", runs)
		}
		why := l.WaitingFor("large")
		if why.GetReason() != trellisv1.WaitingReason_WAITING_REASON_TOO_LARGE || why.GetMemory() != 2*giga {
			t.Errorf("it waits for %v", why)
		}
		greet("large", 5*giga)
		if runs := log.worker("large").GetRuns(); runs != 2 {
			t.Errorf("a worker with room for two runs has %d", runs)
		}
		if why := l.WaitingFor("large"); why != nil {
			t.Errorf("it waits for %v although runs are trained", why)
		}
		create("tiny", giga/16, 3, 5, 7)
		if runs := log.worker("small").GetRuns() + log.worker("large").GetRuns(); runs != 5 {
			t.Errorf("two large runs and three small ones are %d", runs)
		}
	})
}
