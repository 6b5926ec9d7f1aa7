package forecast

import (
	"math"

	trellisv1 "trellis/proto/trellis/v1"
)

// trajectory is what the losses of one run say about when runs stop: in which epochs the validation loss improved,
// which is to say, fell by more than min_delta below the last one that had.
type trajectory struct {
	settings
	cells []cell
}

// cell counts epochs of one bin before which the loss had not improved for the same number of epochs, and those in
// which it then did.
type cell struct {
	bin, waited      int
	epochs, improved int
}

// follow replays a run's validation losses under an early stopping rule. It returns when they improved, and for how
// many epochs in a row they have not: the rule ends a run when these are as many as its patience. The rule is that of
// the trainer's progress.
func follow(at settings, losses []float64, rule *trellisv1.EarlyStopping) (t trajectory, waited int) {
	t.settings = at
	reference := math.Inf(1)
	for i, loss := range losses[:min(len(losses), lastEpoch)] {
		if math.IsNaN(loss) || math.IsInf(loss, 0) {
			break
		}
		c := t.cell(int(binOf[i+1]), waited)
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

// cell returns where an epoch is counted.
func (t *trajectory) cell(bin, waited int) *cell {
	for i := len(t.cells) - 1; i >= 0 && t.cells[i].bin == bin; i-- {
		if t.cells[i].waited == waited {
			return &t.cells[i]
		}
	}
	t.cells = append(t.cells, cell{bin: bin, waited: waited})
	return &t.cells[len(t.cells)-1]
}
