package forecast

import (
	"math"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/objective"
)

// trajectory is what the reports of one run say about when runs stop: in which epochs the metric of early stopping
// improved, by default the validation loss. It improves when it is better by more than min_delta than the last value
// that improved.
type trajectory struct {
	settings
	cells []cell
}

// cell counts epochs of one bin that have the same number of epochs since the last improvement, and those of them in
// which the metric improved.
type cell struct {
	bin, waited      int
	epochs, improved int
}

// follow replays a run's reports under an early stopping rule, which has its metric and direction. It returns when they
// improved, and for how many epochs in a row they have not. The rule ends a run when these reach its patience, as the
// trainer's Patience does. Epochs without a value don't count.
func follow(at settings, losses *trellisv1.Losses, rule *trellisv1.EarlyStopping) (t trajectory, waited int) {
	t.settings = at
	by := &trellisv1.Objective{Metric: rule.GetMetric(), Direction: rule.GetDirection()}
	values := objective.In(losses, objective.Metric(by))
	reference := math.Inf(1)
	for epoch := 1; epoch <= min(len(values.Numbers), lastEpoch); epoch++ {
		value, known := values.At(uint32(epoch))
		if !known {
			continue
		}
		loss := objective.Loss(by, value)
		if math.IsNaN(loss) || math.IsInf(loss, 0) {
			break
		}
		c := t.cell(int(binOf[epoch]), waited)
		c.epochs++
		if reference-loss > rule.GetMinDelta() {
			reference, waited = loss, 0
			c.improved++
		} else {
			waited++
		}
	}
	return t, waited
}

// cell returns the cell in which an epoch is counted.
func (t *trajectory) cell(bin, waited int) *cell {
	for i := len(t.cells) - 1; i >= 0 && t.cells[i].bin == bin; i-- {
		if t.cells[i].waited == waited {
			return &t.cells[i]
		}
	}
	t.cells = append(t.cells, cell{bin: bin, waited: waited})
	return &t.cells[len(t.cells)-1]
}
