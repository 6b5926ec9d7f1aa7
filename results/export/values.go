package export

import (
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
)

// Values are those of a loss or a metric by epoch.
type Values struct {
	Name    string
	values  []float64
	missing []uint32
}

// ValuesOf returns a trial's losses, if there are losses, and then its metrics of these names.
func ValuesOf(trial *trellisv1.Trial, losses bool, metrics []string) []Values {
	all := make([]Values, 0, 2+len(metrics))
	if losses {
		all = append(all, Values{Name: "train_loss", values: trial.GetTrainLoss()},
			Values{Name: "validation_loss", values: trial.GetValidationLoss()})
	}
	for _, name := range metrics {
		series := trial.GetEpochMetrics()[name]
		all = append(all, Values{name, series.GetValues(), series.GetMissing()})
	}
	return all
}

// At returns the value of an epoch, counted from 0, and whether there is one.
func (v Values) At(epoch uint32) (float64, bool) {
	if int(epoch) >= len(v.values) {
		return 0, false
	}
	_, missing := slices.BinarySearch(v.missing, epoch)
	return v.values[epoch], !missing
}
