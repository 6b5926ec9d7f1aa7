package coordinator

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	trellisv1 "trellis/proto/trellis/v1"
)

// byState returns the gauges that have a state, by name and state.
func byState(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
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
	return got
}

// States are called in metrics' labels what they are called everywhere else.
func TestMetricStates(t *testing.T) {
	registry := prometheus.NewRegistry()
	serve(t, Config{Registerer: registry}, func(h *harness) {
		h.create(syntheticSpec("one", []uint32{4}, []uint32{2}))
		h.connect("idle", 1)
		got := byState(t, registry)
		for _, want := range []string{"trellis_studies running", "trellis_workers ready"} {
			if got[want] != 1 {
				t.Errorf("%s is %v of %v, want 1", want, got[want], got)
			}
		}
		// Also those that nothing is in.
		for _, state := range []string{
			"trellis_studies paused", "trellis_studies canceled", "trellis_workers lost", "trellis_runs failed",
			"trellis_runs canceled", "trellis_runs paused",
		} {
			if value, found := got[state]; !found || value != 0 {
				t.Errorf("%s is %v, and there: %v", state, value, found)
			}
		}
	})
}

// Runs of a paused study can't be trained, and are not counted with those for which workers are missing.
func TestRunsOfPausedStudies(t *testing.T) {
	registry := prometheus.NewRegistry()
	serve(t, Config{Registerer: registry}, func(h *harness) {
		h.create(syntheticSpec("paused", []uint32{4, 8, 16}, []uint32{2}))
		h.connect("one", 1)
		check := func(pending, paused float64) {
			t.Helper()
			synctest.Wait() // What the calls have led to has happened.
			got := byState(t, registry)
			if got["trellis_runs running"] != 1 || got["trellis_runs pending"] != pending ||
				got["trellis_runs paused"] != paused {
				t.Errorf("%v, want 1 run that is running, %v pending and %v paused", got, pending, paused)
			}
		}
		check(2, 0)
		h.create(syntheticSpec("running", []uint32{4, 8, 16, 32, 64}, []uint32{2}))
		check(7, 0)
		if _, err := h.studies.PauseStudy(h.Context(), &trellisv1.PauseStudyRequest{Study: "paused"}); err != nil {
			t.Fatal(err)
		}
		check(4, 3) // The worker is given the other study's run instead.
		if _, err := h.studies.ResumeStudy(h.Context(), &trellisv1.ResumeStudyRequest{Study: "paused"}); err != nil {
			t.Fatal(err)
		}
		check(7, 0)
	})
}

// Where the disk can't be looked at, the other metrics are still there.
func TestMetricsWithoutADisk(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		names := func(data string) map[string]bool {
			node := &Coordinator{config: Config{Data: data}, leader: h.Coordinator.leader, artifacts: h.artifacts}
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
			if !got["trellis_artifacts_no_room_total"] || !got["trellis_node_leads"] || !got["trellis_node_ready"] ||
				got["trellis_node_disk_free_bytes"] != disk || got["trellis_node_disk_reserve_bytes"] != disk {
				t.Errorf("with the data directory %s: %v", data, got)
			}
		}
	})
}

// A node says that it leads and can answer once that is so.
func TestNodeMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	serve(t, Config{Registerer: registry}, func(h *harness) {
		time.Sleep(2 * followInterval)
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, family := range families {
			got[family.GetName()] = family.GetMetric()[0].GetGauge().GetValue()
		}
		if got["trellis_node_leads"] != 1 || got["trellis_node_ready"] != 1 {
			t.Errorf("leads: %v, ready: %v, want 1 and 1", got["trellis_node_leads"], got["trellis_node_ready"])
		}
	})
}
