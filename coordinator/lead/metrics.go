package lead

import (
	"github.com/prometheus/client_golang/prometheus"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/trajectory"
)

// metrics counts what the leader does.
type metrics struct {
	granted   prometheus.Counter
	lost      prometheus.Counter
	entries   *prometheus.CounterVec
	artifacts *artifactMetrics
}

// newMetrics registers the metrics, if registerer is not nil.
func newMetrics(registerer prometheus.Registerer) *metrics {
	m := &metrics{
		granted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "trellis_attempts_granted_total", Help: "Runs leased to workers.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "trellis_workers_lost_total", Help: "Workers that were silent for longer than their lease.",
		}),
		entries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "trellis_entries_total",
			Help: "Reports, checkpoints and outcomes from workers, by kind and by whether they were accepted.",
		}, []string{"kind", "accepted"}),
		artifacts: newArtifactMetrics(registerer),
	}
	if registerer != nil {
		registerer.MustRegister(m.granted, m.lost, m.entries)
	}
	return m
}

// recorded counts an entry after the state machine has accepted or refused it.
func (m *metrics) recorded(entry *trellisv1.RecordCommand_Entry, refusal error) {
	kind, count := "outcome", 1
	switch {
	case entry.GetReports() != nil:
		kind, count = "report", trajectory.EpochsIn(entry.GetReports())
	case entry.GetCheckpoint() != nil:
		kind = "checkpoint"
	}
	accepted := "true"
	if refusal != nil {
		accepted = "false"
	}
	m.entries.WithLabelValues(kind, accepted).Add(float64(count))
}

// artifactMetrics counts what is in the leader's store, and what was deleted from it.
type artifactMetrics struct {
	kept, keptBytes           prometheus.Gauge
	collected, collectedBytes prometheus.Counter
}

func newArtifactMetrics(registerer prometheus.Registerer) *artifactMetrics {
	m := &artifactMetrics{
		kept: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "trellis_artifacts", Help: "Artifacts in the store, when the leader last looked.",
		}),
		keptBytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "trellis_artifacts_bytes", Help: "Size of the artifacts in the store, when the leader last looked.",
		}),
		collected: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "trellis_artifacts_collected_total", Help: "Artifacts deleted because nothing referred to them.",
		}),
		collectedBytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "trellis_artifacts_collected_bytes_total", Help: "Size of the artifacts deleted because nothing " +
				"referred to them.",
		}),
	}
	if registerer != nil {
		registerer.MustRegister(m.kept, m.keptBytes, m.collected, m.collectedBytes)
	}
	return m
}
