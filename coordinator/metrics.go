package coordinator

import (
	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/prometheus/client_golang/prometheus"

	"trellis/results"
	"trellis/results/lifecycle"
)

// metrics counts the calls. Gauges are read from the store when they are collected. Package lead counts what the leader
// does.
type metrics struct {
	server *grpcprom.ServerMetrics
}

// newMetrics registers the metrics, if registerer is not nil.
func newMetrics(registerer prometheus.Registerer, store *results.Store) *metrics {
	m := &metrics{server: grpcprom.NewServerMetrics(grpcprom.WithServerHandlingTimeHistogram())}
	if registerer != nil {
		registerer.MustRegister(m.server, storeCollector{store})
	}
	return m
}

var (
	runsMetric    = prometheus.NewDesc("trellis_runs", "Runs of all studies, by state.", []string{"state"}, nil)
	workersMetric = prometheus.NewDesc("trellis_workers", "Workers, by state.", []string{"state"}, nil)
	studiesMetric = prometheus.NewDesc("trellis_studies", "Studies, by state.", []string{"state"}, nil)
	epochsMetric  = prometheus.NewDesc("trellis_epochs", "Epochs reported, of all studies that have not been deleted.",
		nil, nil)
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
		studyStates[lifecycle.Name(study.GetState())]++
		runStates["running"] += progress.GetRunsRunning()
		runStates["succeeded"] += progress.GetRunsSucceeded()
		runStates["failed"] += progress.GetRunsFailed()
		runStates["canceled"] += progress.GetRunsCanceled()
		runStates["pending"] += progress.GetRuns() - progress.GetRunsRunning() - progress.GetRunsSucceeded() -
			progress.GetRunsFailed() - progress.GetRunsCanceled()
	}
	for _, worker := range workers {
		workerStates[lifecycle.Name(worker.GetState())]++
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
