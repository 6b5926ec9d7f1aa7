package coordinator

import (
	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/reflect/protoreflect"

	"trellis/coordinator/api"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/lifecycle"
)

// metrics counts the calls. Gauges are read from the store when they are collected. Package lead counts what the leader
// does.
type metrics struct {
	server *grpcprom.ServerMetrics
}

// newMetrics registers the metrics, if registerer is not nil.
func newMetrics(registerer prometheus.Registerer, store *results.Store, c *Coordinator) *metrics {
	m := &metrics{server: grpcprom.NewServerMetrics(grpcprom.WithServerHandlingTimeHistogram())}
	if registerer != nil {
		registerer.MustRegister(m.server, storeCollector{store}, nodeCollector{c})
	}
	return m
}

var (
	runsMetric = prometheus.NewDesc("trellis_runs",
		"Runs of all studies, by state. Paused are those that wait in studies that are paused.", []string{"state"}, nil)
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
	studyStates, workerStates := counts(trellisv1.StudyState(0).Descriptor()), counts(trellisv1.WorkerState(0).Descriptor())
	runStates := map[string]uint64{}
	for _, study := range studies {
		progress := study.GetProgress()
		epochs += progress.GetEpochs()
		studyStates[lifecycle.Name(study.GetState())]++
		runStates["running"] += progress.GetRunsRunning()
		runStates["succeeded"] += progress.GetRunsSucceeded()
		runStates["failed"] += progress.GetRunsFailed()
		runStates["canceled"] += progress.GetRunsCanceled()
		waiting := "pending"
		if study.GetState() == lifecycle.StudyPaused { // No worker is given them, however many there are.
			waiting = "paused"
		}
		runStates[waiting] += progress.GetRuns() - progress.GetRunsRunning() - progress.GetRunsSucceeded() -
			progress.GetRunsFailed() - progress.GetRunsCanceled()
	}
	for _, state := range []string{"pending", "paused", "running", "succeeded", "failed", "canceled"} {
		runStates[state] += 0 // Also if there are no studies.
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

// counts has 0 for each state, so that rules and graphs don't have to know what it means that one is missing.
func counts(states protoreflect.EnumDescriptor) map[string]uint64 {
	none := map[string]uint64{}
	for i := 1; i < states.Values().Len(); i++ {
		none[lifecycle.Name(stateName(states.Values().Get(i).Name()))] = 0
	}
	return none
}

// stateName is the name of a state in the API.
type stateName string

func (n stateName) String() string { return string(n) }

var (
	leadsMetric = prometheus.NewDesc("trellis_node_leads", "Whether this node is the leader: 0 or 1.", nil, nil)
	readyMetric = prometheus.NewDesc("trellis_node_ready", "Whether this node can answer: 0 or 1.", nil, nil)
	freeMetric  = prometheus.NewDesc("trellis_node_disk_free_bytes", "What is free on the disk of the data directory.", nil, nil)
	// reserveMetric is what MinFreeDisk or its default says.
	reserveMetric = prometheus.NewDesc("trellis_node_disk_reserve_bytes",
		"What must be free on the disk of the data directory for new studies.", nil, nil)
	fullMetric = prometheus.NewDesc("trellis_artifacts_no_room_total",
		"Artifacts that this node has refused because its store is full. Workers try again.", nil, nil)
	indexMetric = prometheus.NewDesc("trellis_node_log_index", "Index of an entry of the log: of the last one that this node knows a "+
		"majority to have, that its store includes, and that its newest snapshot has.", []string{"entry"}, nil)
)

// nodeCollector reads what this node alone knows.
type nodeCollector struct {
	node *Coordinator
}

// Describe implements prometheus.Collector.
func (c nodeCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- leadsMetric
	descs <- readyMetric
	descs <- freeMetric
	descs <- reserveMetric
	descs <- fullMetric
	descs <- indexMetric
}

// Collect implements prometheus.Collector.
func (c nodeCollector) Collect(out chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value)
	}
	truth := map[bool]float64{true: 1}
	gauge(leadsMetric, truth[c.node.leader.Leads()])
	gauge(readyMetric, truth[c.node.Ready()])
	out <- prometheus.MustNewConstMetric(fullMetric, prometheus.CounterValue, float64(c.node.artifacts.Full()))
	if c.node.config.Data == "" {
		return
	}
	select {
	case <-c.node.logOpened: // Until then, nobody may look at the log.
		now := c.node.replicated.Status()
		for entry, index := range map[string]uint64{
			"committed": now.CommitIndex, "applied": now.AppliedIndex, "snapshot": now.SnapshotIndex,
		} {
			out <- prometheus.MustNewConstMetric(indexMetric, prometheus.GaugeValue, float64(index), entry)
		}
	default:
	}
	free, reserve, err := api.DiskSpace(c.node.config.Data, c.node.config.MinFreeDisk)
	if err != nil { // An invalid metric would hide all others. The disk may well be what they are needed for.
		return
	}
	gauge(freeMetric, float64(free))
	gauge(reserveMetric, float64(reserve))
}
