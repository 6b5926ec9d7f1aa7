package trajectory

import (
	"fmt"
	"maps"
	"slices"

	"trellis/proto/template"
	trellisv1 "trellis/proto/trellis/v1"
)

// A program names its metrics itself. One that it reports for the first time after the first epoch, or not for every
// epoch, is missing in the others. What is recorded has a series for exactly the metrics that have a value, and each
// has a place for every epoch, so that the same reports give the same rows no matter how they came in.

// checkOwnMetrics says what is wrong with the metrics that a program reports of count epochs, besides those recorded.
func checkOwnMetrics(recorded, reported map[string]*trellisv1.Series, count int) error {
	all := len(recorded)
	for _, name := range slices.Sorted(maps.Keys(reported)) {
		series := reported[name]
		if !template.Metric.MatchString(name) {
			return fmt.Errorf("metric %.80q: a name must have at most 63 letters, digits and characters of _ . / -, and begin "+
				"with a letter or _", name)
		}
		if len(series.GetValues()) != count {
			return fmt.Errorf("%d values of metric %s of %d epochs", len(series.GetValues()), name, count)
		}
		for i, place := range series.GetMissing() {
			if int64(place) >= int64(count) || i > 0 && place <= series.Missing[i-1] || series.Values[place] != 0 {
				return fmt.Errorf("metric %s of %d epochs: missing values are not at ascending positions that have 0", name,
					count)
			}
		}
		if _, known := recorded[name]; !known {
			all++
		}
	}
	if all > template.MaxMetrics {
		return fmt.Errorf("%d metrics, at most %d are allowed in a run", all, template.MaxMetrics)
	}
	return nil
}

// hasValue says whether a series has a value for an epoch.
func hasValue(series *trellisv1.Series, epoch uint32) bool {
	if epoch == 0 || int(epoch) > len(series.GetValues()) {
		return false
	}
	_, missing := slices.BinarySearch(series.GetMissing(), epoch-1)
	return !missing
}

// appendOwnMetrics returns metrics of `had` epochs with count more: those that are reported from the given place on. As
// those of losses, the arrays grow in place: see appendLosses.
func appendOwnMetrics(
	metrics map[string]*trellisv1.Series, had int, reported map[string]*trellisv1.Series, from, count int,
) map[string]*trellisv1.Series {
	longer := make(map[string]*trellisv1.Series, max(len(metrics), len(reported)))
	for name, series := range metrics {
		if reported[name] == nil {
			longer[name] = withMissing(series, had, count)
		}
	}
	for name, series := range reported {
		first, _ := slices.BinarySearch(series.Missing, uint32(from))
		missing := series.Missing[first:]
		if len(missing) == count && metrics[name] == nil {
			continue
		}
		all := metrics[name]
		if all == nil {
			all = withMissing(nil, 0, had)
		}
		all = &trellisv1.Series{Values: append(all.Values, series.Values[from:]...), Missing: all.Missing}
		for _, place := range missing {
			all.Missing = append(all.Missing, uint32(had)+place-uint32(from))
		}
		longer[name] = all
	}
	if len(longer) == 0 {
		return nil
	}
	return longer
}

// withMissing returns a series of `had` epochs with count more that have no value.
func withMissing(series *trellisv1.Series, had, count int) *trellisv1.Series {
	longer := &trellisv1.Series{
		Values: append(series.GetValues(), make([]float64, count)...), Missing: series.GetMissing(),
	}
	for i := range count {
		longer.Missing = append(longer.Missing, uint32(had+i))
	}
	return longer
}

// checkOwnMetricsRepeat is checkRepeat for a program: an epoch must have the same metrics, with the same bits.
func checkOwnMetricsRepeat(losses *trellisv1.Losses, reports *trellisv1.Reports, i int) error {
	epoch := reports.GetFirstEpoch() + uint32(i)
	for _, name := range namesIn(losses.Metrics, reports.GetMetrics()) {
		recorded, reported := losses.Metrics[name], reports.GetMetrics()[name]
		switch had, has := hasValue(recorded, epoch), hasValue(reported, uint32(i+1)); {
		case had && !has:
			return fmt.Errorf("epoch %d: recorded the metric %s as %v, not reported", epoch, name, recorded.Values[epoch-1])
		case !had && has:
			return fmt.Errorf("epoch %d: recorded no metric %s, reported %v", epoch, name, reported.Values[i])
		case had && !SameBits(recorded.Values[epoch-1], reported.Values[i]):
			return fmt.Errorf("epoch %d: recorded the metric %s as %v, reported %v", epoch, name, recorded.Values[epoch-1],
				reported.Values[i])
		}
	}
	return nil
}

// sameOwnMetrics says whether the metrics of a program agree in the first epochs.
func sameOwnMetrics(a, b map[string]*trellisv1.Series, epochs uint32) bool {
	for _, name := range namesIn(a, b) {
		x, y := a[name], b[name]
		if x != nil && y != nil && &x.Values[0] == &y.Values[0] && len(x.Missing)+len(y.Missing) == 0 {
			continue
		}
		for epoch := uint32(1); epoch <= epochs; epoch++ {
			had, has := hasValue(x, epoch), hasValue(y, epoch)
			if had != has || had && !SameBits(x.Values[epoch-1], y.Values[epoch-1]) {
				return false
			}
		}
	}
	return true
}

// namesIn returns the names that either has, ascending.
func namesIn(a, b map[string]*trellisv1.Series) []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(names)
	return slices.Compact(names)
}
