package trajectory

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
)

// A model may report metrics besides its losses. They are recorded bit for bit, like losses.

const (
	// maxMetrics is how many metrics an epoch may have, and maxMetricName how long the name of one may be, in bytes.
	maxMetrics    = 16
	maxMetricName = 64
	// Of which images a metric by epoch is, its name begins with.
	trainMetric      = "train_"
	validationMetric = "validation_"
)

// checkMetrics says what is wrong with the metrics of reports of count epochs.
func checkMetrics(reports *trellisv1.Reports, count int) error {
	metrics, tests := reports.GetMetrics(), reports.GetTestMetrics()
	if len(metrics) > maxMetrics {
		return fmt.Errorf("%d metrics, at most %d are allowed", len(metrics), maxMetrics)
	}
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		if !validMetric(name) || !strings.HasPrefix(name, trainMetric) && !strings.HasPrefix(name, validationMetric) {
			return fmt.Errorf("metric %.80q: a name consists of a to z and _, %d at most, and begins with %s or %s",
				name, maxMetricName, trainMetric, validationMetric)
		}
		if values := len(metrics[name].GetValues()); values != count {
			return fmt.Errorf("%d values of metric %s of %d epochs", values, name, count)
		}
		if missing := len(metrics[name].GetMissing()); missing > 0 {
			return fmt.Errorf("%d missing values of metric %s: a model reports it for every epoch", missing, name)
		}
	}
	for _, epoch := range slices.Sorted(maps.Keys(tests)) {
		values := tests[epoch].GetValues()
		if _, tested := reports.GetTestLoss()[epoch]; !tested {
			return fmt.Errorf("test metrics of epoch %d, which has no test loss", epoch)
		}
		if len(values) > maxMetrics {
			return fmt.Errorf("%d test metrics of epoch %d, at most %d are allowed", len(values), epoch, maxMetrics)
		}
		for _, name := range slices.Sorted(maps.Keys(values)) {
			if !validMetric(name) {
				return fmt.Errorf("test metric %.80q: a name consists of a to z and _, %d at most", name, maxMetricName)
			}
		}
	}
	return nil
}

func validMetric(name string) bool {
	other := func(r rune) bool { return (r < 'a' || r > 'z') && r != '_' }
	return name != "" && len(name) <= maxMetricName && !strings.ContainsFunc(name, other)
}

// checkSameMetrics compares the names of what is reported with those of what is recorded: a run has the same at all
// epochs. The error says what differs.
func checkSameMetrics(recorded, reported map[string]*trellisv1.Series) error {
	if sameKeys(recorded, reported) {
		return nil
	}
	return fmt.Errorf("recorded the metrics %q, reported %q", slices.Sorted(maps.Keys(recorded)),
		slices.Sorted(maps.Keys(reported)))
}

func sameKeys[V any](a, b map[string]V) bool {
	if len(a) != len(b) {
		return false
	}
	for name := range a {
		if _, both := b[name]; !both {
			return false
		}
	}
	return true
}

// checkMetricsRepeat is checkRepeat for metrics, whose names are the same.
func checkMetricsRepeat(losses *trellisv1.Losses, reports *trellisv1.Reports, i int) error {
	epoch := reports.GetFirstEpoch() + uint32(i)
	for _, name := range slices.Sorted(maps.Keys(reports.GetMetrics())) {
		recorded, reported := losses.Metrics[name].Values[epoch-1], reports.GetMetrics()[name].GetValues()[i]
		if !SameBits(recorded, reported) {
			return fmt.Errorf("epoch %d: recorded the metric %s as %v, reported %v", epoch, name, recorded, reported)
		}
	}
	recorded, reported := losses.TestMetrics[epoch].GetValues(), reports.GetTestMetrics()[epoch].GetValues()
	if _, tested := losses.TestLoss[epoch]; !tested {
		return nil
	}
	if _, tested := reports.GetTestLoss()[epoch]; !tested {
		return nil
	}
	if !sameKeys(recorded, reported) {
		return fmt.Errorf("epoch %d: recorded the test metrics %q, reported %q", epoch,
			slices.Sorted(maps.Keys(recorded)),
			slices.Sorted(maps.Keys(reported)))
	}
	for _, name := range slices.Sorted(maps.Keys(reported)) {
		if !SameBits(recorded[name], reported[name]) {
			return fmt.Errorf("epoch %d: recorded the test metric %s as %v, reported %v", epoch, name, recorded[name],
				reported[name])
		}
	}
	return nil
}

// appendMetrics returns metrics with more epochs: those that are reported from the given place on. As those of losses,
// the arrays grow in place: see appendLosses.
func appendMetrics(metrics, reported map[string]*trellisv1.Series, from int) map[string]*trellisv1.Series {
	if len(reported) == 0 {
		return metrics
	}
	longer := make(map[string]*trellisv1.Series, len(reported))
	for name, series := range reported {
		longer[name] = &trellisv1.Series{Values: append(metrics[name].GetValues(), series.GetValues()[from:]...)}
	}
	return longer
}

// MetricsUpTo returns the metrics of the first epochs, without those that have no value there. The arrays are shared, but
// without their spare capacity.
func MetricsUpTo(metrics map[string]*trellisv1.Series, epochs uint32) map[string]*trellisv1.Series {
	if len(metrics) == 0 {
		return nil
	}
	first := make(map[string]*trellisv1.Series, len(metrics))
	for name, series := range metrics {
		missing, _ := slices.BinarySearch(series.Missing, epochs)
		if missing == int(epochs) && epochs > 0 {
			continue
		}
		first[name] = &trellisv1.Series{Values: series.Values[:epochs:epochs]}
		if missing > 0 {
			first[name].Missing = series.Missing[:missing:missing]
		}
	}
	return first
}

// ValidationMetrics returns the metrics of one epoch on the validation images, by the names of the model's metrics. Of a
// program, it returns all that have a value there. It returns nil for epoch 0.
func ValidationMetrics(losses *trellisv1.Losses, epoch uint32) map[string]float64 {
	if epoch == 0 {
		return nil
	}
	var metrics map[string]float64
	for name, series := range losses.GetMetrics() {
		its := losses.Epochs > 0 && hasValue(series, epoch)
		if losses.Epochs == 0 {
			name, its = strings.CutPrefix(name, validationMetric)
		}
		if !its {
			continue
		}
		if metrics == nil {
			metrics = make(map[string]float64, 1)
		}
		metrics[name] = series.Values[epoch-1]
	}
	return metrics
}

// takeTest gives a trial the results on the test images that were reported for an epoch of its run, if there are any.
func takeTest(trial *trellisv1.Trial, losses *trellisv1.Losses, epoch uint32) {
	loss, tested := losses.GetTestLoss()[epoch]
	if !tested {
		return
	}
	trial.TestLoss = &loss
	// What is stored is never changed, so that it can be shared.
	trial.TestMetrics = losses.GetTestMetrics()[epoch].GetValues()
}
