package coordinator

import (
	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/prometheus/client_golang/prometheus"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
)

// metrics counts what the coordinator does. What the store can answer is read from it when it is asked for.
type metrics struct {
	server  *grpcprom.ServerMetrics
	granted prometheus.Counter
	lost    prometheus.Counter
	entries *prometheus.CounterVec
}

// newMetrics registers the metrics, if there is where to.
func newMetrics(registerer prometheus.Registerer, store *results.Store) *metrics {
	m := &metrics{
		server: grpcprom.NewServerMetrics(grpcprom.WithServerHandlingTimeHistogram()),
		granted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "trellis_attempts_granted_total", Help: "Runs leased to workers.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "trellis_workers_lost_total", Help: "Workers that were silent for longer than their lease.",
		}),
		entries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "trellis_entries_total", Help: "Reports, checkpoints and outcomes from workers, by kind and by whether they were accepted.",
		}, []string{"kind", "accepted"}),
	}
	if registerer == nil {
		return m
	}
	registerer.MustRegister(m.server, m.granted, m.lost, m.entries, storeCollector{store})
	return m
}

// recorded counts an entry that the state machine has answered.
func (m *metrics) recorded(entry *trellisv1.RecordCommand_Entry, refusal error) {
	kind, count := "outcome", 1
	switch {
	case entry.GetReports() != nil:
		kind, count = "report", len(entry.GetReports().GetTrainLoss())
	case entry.GetCheckpoint() != nil:
		kind = "checkpoint"
	}
	accepted := "true"
	if refusal != nil {
		accepted = "false"
	}
	m.entries.WithLabelValues(kind, accepted).Add(float64(count))
}

var (
	runsMetric    = prometheus.NewDesc("trellis_runs", "Runs of all studies, by state.", []string{"state"}, nil)
	workersMetric = prometheus.NewDesc("trellis_workers", "Workers, by state.", []string{"state"}, nil)
	studiesMetric = prometheus.NewDesc("trellis_studies", "Studies, by state.", []string{"state"}, nil)
	epochsMetric  = prometheus.NewDesc("trellis_epochs", "Epochs reported, of the studies that are kept.", nil, nil)
)

// storeCollector reads gauges from the store.
type storeCollector struct {
	store *results.Store
}

// Describe implements prometheus.Collector.
func (c storeCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- runsMetric
	descs <- workersMetric
	descs <- studiesMetric
	descs <- epochsMetric
}

// Collect implements prometheus.Collector.
func (c storeCollector) Collect(out chan<- prometheus.Metric) {
	snapshot := c.store.Snapshot()
	studies, err := snapshot.Studies(nil)
	if err != nil {
		out <- prometheus.NewInvalidMetric(studiesMetric, err)
		return
	}
	workers, err := snapshot.Workers(nil)
	if err != nil {
		out <- prometheus.NewInvalidMetric(workersMetric, err)
		return
	}
	var epochs uint64
	studyStates, runStates, workerStates := map[string]uint64{}, map[string]uint64{}, map[string]uint64{}
	for _, study := range studies {
		progress := study.GetProgress()
		epochs += progress.GetEpochs()
		studyStates[study.GetState().String()]++
		runStates["running"] += progress.GetRunsRunning()
		runStates["succeeded"] += progress.GetRunsSucceeded()
		runStates["failed"] += progress.GetRunsFailed()
		runStates["canceled"] += progress.GetRunsCanceled()
		runStates["pending"] += progress.GetRuns() - progress.GetRunsRunning() - progress.GetRunsSucceeded() -
			progress.GetRunsFailed() - progress.GetRunsCanceled()
	}
	for _, worker := range workers {
		workerStates[worker.GetState().String()]++
	}
	gauges := func(desc *prometheus.Desc, values map[string]uint64) {
		for state, value := range values {
			out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), state)
		}
	}
	gauges(studiesMetric, studyStates)
	gauges(runsMetric, runStates)
	gauges(workersMetric, workerStates)
	out <- prometheus.MustNewConstMetric(epochsMetric, prometheus.GaugeValue, float64(epochs))
}
