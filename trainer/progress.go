package trainer

import (
	"cmp"
	"fmt"
	"math"
)

// The names by which objectives and early stopping know what a Report has: its losses and, after these prefixes, the
// metrics of its model.
const (
	trainLoss        = "train_loss"
	validationLoss   = "validation_loss"
	trainPrefix      = "train_"
	validationPrefix = "validation_"
)

// progress is how far a run has come, and what its losses and metrics have decided so far. It depends on these alone:
// not on the epochs still allowed, not on milestones.
type progress struct {
	// epoch is the last one observed; 0 before the first.
	epoch int
	// bestEpoch is the best epoch by the objective, and best its value; the earliest one if several are as good. 0 if
	// no value was finite.
	bestEpoch int
	best      float64
	patience  Patience
	// stopped is EarlyStopped or Diverged once the losses have ended the run, else 0.
	stopped StopReason
}

func newProgress(config *Config) progress {
	return progress{best: math.NaN(), patience: NewPatience(config.EarlyStopping)}
}

// observe takes in the next epoch's report and says whether this epoch is the best so far.
func (p *progress) observe(report *Report, config *Config) (best bool) {
	p.epoch++
	if value, _ := report.value(config.Objective.Metric); config.Objective.improves(p, value) {
		p.bestEpoch, p.best = p.epoch, value
		best = true
	} else if config.Objective.Latest {
		p.bestEpoch, p.best = 0, math.NaN()
	}
	if !finite(report.TrainLoss) || !finite(report.ValidationLoss) {
		p.stopped = Diverged
		return best
	}
	value, present := report.value(config.EarlyStopping.Metric)
	if p.patience.Observe(config.EarlyStopping, value, present) {
		p.stopped = EarlyStopped
	}
	return best
}

// improves says whether the next epoch is the best, given the value of the metric.
func (o Objective) improves(p *progress, value float64) bool {
	switch {
	case !finite(value):
		return false
	case o.Latest || p.bestEpoch == 0:
		return true
	case o.Maximize:
		return value > p.best
	default:
		return value < p.best
	}
}

// value returns the value of a metric, and whether there is one.
func (r *Report) value(metric string) (value float64, present bool) {
	switch cmp.Or(metric, validationLoss) {
	case validationLoss:
		return r.ValidationLoss, true
	case trainLoss:
		return r.TrainLoss, true
	}
	if value, present = r.Metrics[metric]; !present {
		return math.NaN(), false
	}
	return value, true
}

func finite(x float64) bool {
	return !math.IsNaN(x) && !math.IsInf(x, 0)
}

// check says how a decoded progress contradicts itself.
func (p *progress) check() error {
	switch {
	case p.epoch < 1 || p.bestEpoch > p.epoch || p.patience.Waited > p.epoch:
		return fmt.Errorf("epoch %d, best epoch %d and %d epochs waited do not go together", p.epoch, p.bestEpoch,
			p.patience.Waited)
	case p.bestEpoch == 0 != math.IsNaN(p.best):
		return fmt.Errorf("best epoch %d has loss %v", p.bestEpoch, p.best)
	case p.stopped != 0 && p.stopped != EarlyStopped && p.stopped != Diverged:
		return fmt.Errorf("stop reason %d is unknown", p.stopped)
	}
	return nil
}
