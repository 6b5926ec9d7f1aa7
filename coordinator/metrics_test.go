package coordinator

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// States are called in metrics' labels what they are called everywhere else.
func TestMetricStates(t *testing.T) {
	registry := prometheus.NewRegistry()
	serve(t, Config{Registerer: registry}, func(h *harness) {
		h.create(syntheticSpec("one", []uint32{4}, []uint32{2}))
		h.connect("idle", 1)
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, family := range families {
			for _, m := range family.GetMetric() {
				for _, label := range m.GetLabel() {
					if label.GetName() == "state" {
						got[family.GetName()+" "+label.GetValue()] = m.GetGauge().GetValue()
					}
				}
			}
		}
		for _, want := range []string{"trellis_studies running", "trellis_workers ready"} {
			if got[want] != 1 {
				t.Errorf("%s is %v of %v, want 1", want, got[want], got)
			}
		}
		// Also those that nothing is in.
		for _, state := range []string{
			"trellis_studies paused", "trellis_studies canceled", "trellis_workers lost", "trellis_runs failed", "trellis_runs canceled",
		} {
			if value, found := got[state]; !found || value != 0 {
				t.Errorf("%s is %v, and there: %v", state, value, found)
			}
		}
	})
}
