package forecast

import (
	"math"

	trellisv1 "trellis/proto/trellis/v1"
)

// trajectory is what the losses of one run say about when runs stop: in which epochs the validation loss improved. It
// improves when it falls by more than min_delta below the last loss that improved.
type trajectory struct {
	settings
	cells []cell
}

// cell counts epochs of one bin that have the same number of epochs since the last improvement, and those of them in
// which the loss improved.
type cell struct {
	bin, waited      int
	epochs, improved int
}

// follow replays a run's validation losses under an early stopping rule. It returns when they improved, and for how
// many epochs in a row they have not. The rule ends a run when these reach its patience, as the trainer's progress
// does.
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
