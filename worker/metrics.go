package worker

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	trellisv1 "trellis/proto/trellis/v1"
)

// metrics are a worker's metrics. Runs, epochs and images count when they are trained here, whether or not the
// coordinator accepts them.
type metrics struct {
	epochs, images, sessions prometheus.Counter
	busy, borrowed           prometheus.Gauge
	outcomes, checkpoints    *prometheus.CounterVec
}

// newMetrics registers the metrics, unless registerer is nil.
func newMetrics(registerer prometheus.Registerer, slots int) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{
			Name: name, Help: help,
		})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{
			Name: name, Help: help,
		})
	}
	m := &metrics{
		epochs: counter("trellis_worker_epochs_total", "Epochs trained."),
		images: counter("trellis_worker_images_total", "Images trained on, counting repetitions."),
		sessions: counter("trellis_worker_sessions_total", "Sessions that the coordinator has welcomed. All but the first are "+
			"reconnects."),
		busy:     gauge("trellis_worker_slots_busy", "Slots in which a run is being trained."),
		borrowed: gauge("trellis_worker_slots_borrowed", "Slots without a run whose cores runs of other slots use."),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "trellis_worker_runs_total",
			Help: "Runs that have ended here, by outcome: success, failure, or return for those that were interrupted.",
		}, []string{"outcome"}),
		checkpoints: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "trellis_worker_checkpoints_total",
			Help: "Checkpoints to upload, by result: uploaded, or failure for those that were given up.",
		}, []string{"result"}),
	}
	for _, result := range []string{"uploaded", "failure"} {
		m.checkpoints.WithLabelValues(result) // An increase from nothing to 1 is none for Prometheus.
	}
	all := gauge("trellis_worker_slots", "Slots of the worker.")
	all.Set(float64(slots))
	if registerer == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		m.epochs, m.images, m.sessions, m.busy, m.borrowed, m.outcomes, m.checkpoints, all,
	} {
		errs = append(errs, registerer.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return m, nil
}

// ended counts an attempt's outcome.
func (m *metrics) ended(outcome *trellisv1.Outcome) {
	switch outcome.GetResult().(type) {
	case *trellisv1.Outcome_Success_:
		m.outcomes.WithLabelValues("success").Inc()
	case *trellisv1.Outcome_Failure:
		m.outcomes.WithLabelValues("failure").Inc()
	case *trellisv1.Outcome_Return_:
		m.outcomes.WithLabelValues("return").Inc()
	}
}
