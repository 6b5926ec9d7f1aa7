package objective

import (
	"cmp"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// The names of a model's losses as metrics. Its other metrics are named train_X and validation_X.
const (
	TrainLoss      = "train_loss"
	ValidationLoss = "validation_loss"

	TrainPrefix      = "train_"
	ValidationPrefix = "validation_"
)

// The directions and summaries by their short names.
const (
	minimize = trellisv1.Direction_DIRECTION_MINIMIZE
	maximize = trellisv1.Direction_DIRECTION_MAXIMIZE

	best = trellisv1.Objective_SUMMARY_BEST
	last = trellisv1.Objective_SUMMARY_LAST
	mean = trellisv1.Objective_SUMMARY_MEAN
)

// DefaultMeanEpochs is of how many values a mean is if nothing else is said.
const DefaultMeanEpochs = 5

// Of returns a study's objective, complete, or nil if it is the lowest validation loss of a model. What a program calls
// validation_loss is a metric like its others.
func Of(spec *trellisv1.StudySpec) *trellisv1.Objective {
	o := WithDefaults(spec.GetObjective())
	if spec.GetProgram() == nil && IsDefault(o) {
		return nil
	}
	if o == nil {
		o = WithDefaults(&trellisv1.Objective{})
	}
	return o
}

// WithDefaults returns a complete copy of an objective. It returns nil for nil.
func WithDefaults(o *trellisv1.Objective) *trellisv1.Objective {
	if o == nil {
		return nil
	}
	o = proto.CloneOf(o)
	o.Metric = cmp.Or(o.Metric, ValidationLoss)
	o.Direction = cmp.Or(o.Direction, minimize)
	o.Of = cmp.Or(o.Of, best)
	switch {
	case o.Of != mean:
		o.Epochs = 0
	case o.Epochs == 0:
		o.Epochs = DefaultMeanEpochs
	}
	return o
}

// IsDefault says whether a complete objective is the lowest validation loss.
func IsDefault(o *trellisv1.Objective) bool {
	return o == nil || Metric(o) == ValidationLoss && !Maximizes(o) && Summary(o) == best
}

// Stopping returns how a study's runs stop early, or nil if they don't. Its metric and direction are those of the
// objective unless it has its own, and unset if that is the validation loss of a model, which is minimized.
func Stopping(spec *trellisv1.StudySpec) *trellisv1.EarlyStopping {
	rule := spec.GetEarlyStopping()
	if rule == nil {
		return nil
	}
	o := spec.GetObjective()
	metric, direction := cmp.Or(rule.GetMetric(), Metric(o)), rule.GetDirection()
	if direction == 0 && metric == Metric(o) {
		direction = o.GetDirection()
	}
	direction = cmp.Or(direction, minimize)
	if metric == ValidationLoss && direction == minimize && spec.GetProgram() == nil {
		metric, direction = "", 0
	}
	if metric == rule.GetMetric() && direction == rule.GetDirection() {
		return rule
	}
	return &trellisv1.EarlyStopping{
		Patience: rule.GetPatience(), MinDelta: rule.GetMinDelta(), Metric: metric, Direction: direction,
	}
}

// Metric returns the name of an objective's metric.
func Metric(o *trellisv1.Objective) string { return cmp.Or(o.GetMetric(), ValidationLoss) }

// Maximizes says whether higher values are better.
func Maximizes(o *trellisv1.Objective) bool { return o.GetDirection() == maximize }

// Summary says which values of the metric count.
func Summary(o *trellisv1.Objective) trellisv1.Objective_Summary { return cmp.Or(o.GetOf(), best) }

// Loss returns a value or, if higher values are better, its negative: lower is better.
func Loss(o *trellisv1.Objective, value float64) float64 {
	if Maximizes(o) {
		return 0 - value // Of 0, this is 0, and not -0.
	}
	return value
}

// Values are those of a metric by epoch.
type Values struct {
	// Numbers has one for each epoch, or for fewer: none is reported for the others.
	Numbers []float64
	// Missing has the positions in Numbers that have none, ascending.
	Missing []uint32
}

// In returns the values of a metric among the losses of a run.
func In(losses *trellisv1.Losses, metric string) Values {
	if series := losses.GetMetrics()[metric]; series != nil {
		return Values{series.GetValues(), series.GetMissing()}
	}
	switch metric {
	case ValidationLoss:
		return Values{Numbers: losses.GetValidationLoss()}
	case TrainLoss:
		return Values{Numbers: losses.GetTrainLoss()}
	}
	return Values{}
}

// At returns the value of an epoch, counted from 1, and whether there is one.
func (v Values) At(epoch uint32) (value float64, known bool) {
	if epoch == 0 || int(epoch) > len(v.Numbers) {
		return 0, false
	}
	if len(v.Missing) > 0 {
		if _, missing := slices.BinarySearch(v.Missing, epoch-1); missing {
			return 0, false
		}
	}
	return v.Numbers[epoch-1], true
}

// Losses returns the values up to an epoch of which lower are better, without those that are missing. Nobody may change
// them.
func Losses(o *trellisv1.Objective, values Values, to uint32) []float64 {
	end := min(to, uint32(len(values.Numbers)))
	if len(values.Missing) == 0 && !Maximizes(o) {
		return values.Numbers[:end]
	}
	losses := make([]float64, 0, end)
	for epoch := uint32(1); epoch <= end; epoch++ {
		if value, known := values.At(epoch); known {
			losses = append(losses, Loss(o, value))
		}
	}
	return losses
}

// Last returns the last value up to an epoch, and the epoch that it is of. It returns epoch 0 if there is none.
func (v Values) Last(to uint32) (value float64, epoch uint32) {
	for epoch := min(to, uint32(len(v.Numbers))); epoch > 0; epoch-- {
		if value, known := v.At(epoch); known {
			return value, epoch
		}
	}
	return 0, 0
}

// Score is an objective's value after some epochs, and the epoch that it comes from: of a mean, the last one. Epoch is
// 0 if the value is not a finite number, or there is none.
type Score struct {
	Value float64
	Epoch uint32
}

// After returns the score after the epoch `to`, given the score after an earlier one.
func (s Score) After(o *trellisv1.Objective, values Values, from, to uint32) Score {
	switch Summary(o) {
	case last:
		return meanOf(values, to, 1)
	case mean:
		return meanOf(values, to, o.GetEpochs())
	}
	for epoch, end := from+1, min(to, uint32(len(values.Numbers))); epoch <= end; epoch++ {
		// A value that is not finite is never the best. Of equal ones, the earliest is the best.
		value, known := values.At(epoch)
		if known && finite(value) && (s.Epoch == 0 || Loss(o, value) < Loss(o, s.Value)) {
			s = Score{value, epoch}
		}
	}
	return s
}

// ScoreAt returns the score after an epoch.
func ScoreAt(o *trellisv1.Objective, values Values, epoch uint32) Score {
	return Score{}.After(o, values, 0, epoch)
}

// meanOf is the mean of the last n values up to an epoch, or of all if there are fewer.
func meanOf(values Values, to, n uint32) Score {
	sum, count, end := 0.0, uint32(0), uint32(0)
	for epoch := min(to, uint32(len(values.Numbers))); epoch > 0 && count < n; epoch-- {
		value, known := values.At(epoch)
		if !known {
			continue
		}
		if count++; count == 1 {
			end = epoch
		}
		sum += value
	}
	if value := sum / float64(count); count > 0 && finite(value) {
		return Score{value, end}
	}
	return Score{}
}

func finite(value float64) bool { return !math.IsNaN(value) && !math.IsInf(value, 0) }
