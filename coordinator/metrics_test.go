package coordinator

import (
	"path/filepath"
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

// Where the disk can't be looked at, the other metrics are still there.
func TestMetricsWithoutADisk(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		names := func(data string) map[string]bool {
			node := &Coordinator{config: Config{Data: data}, leader: h.Coordinator.leader}
			node.view.Store(h.Coordinator.view.Load())
			registry := prometheus.NewRegistry()
			registry.MustRegister(nodeCollector{node})
			families, err := registry.Gather()
			if err != nil {
				t.Errorf("with the data directory %s: %v", data, err)
			}
			names := map[string]bool{}
			for _, family := range families {
				names[family.GetName()] = true
			}
			return names
		}
		folder := t.TempDir()
		for data, disk := range map[string]bool{folder: true, filepath.Join(folder, "missing"): false} {
			got := names(data)
			if !got["trellis_node_leads"] || !got["trellis_node_ready"] || got["trellis_node_disk_free_bytes"] != disk ||
				got["trellis_node_disk_reserve_bytes"] != disk {
				t.Errorf("with the data directory %s: %v", data, got)
			}
		}
	})
}
