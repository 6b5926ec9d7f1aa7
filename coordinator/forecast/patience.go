package forecast

import (
	"math"

	trellisv1 "trellis/proto/trellis/v1"
)

// trajectory is what the losses of one run say about when runs stop: in how many epochs the validation loss improved, which
// is to say, fell by more than min_delta below the last one that had. Counted by bins of epochs.
type trajectory struct {
	settings
	epochs, improved []uint16
}

// follow replays a run's validation losses under an early stopping rule. It returns when they improved, and for how many
// epochs in a row they have not: the rule ends a run when these are as many as its patience. The rule is that of the
// trainer's progress.
func follow(at settings, losses []float64, rule *trellisv1.EarlyStopping) (t trajectory, waited int) {
	t.settings = at
	reference := math.Inf(1)
	for i, loss := range losses[:min(len(losses), lastEpoch)] {
		if math.IsNaN(loss) || math.IsInf(loss, 0) {
			break
		}
		bin := int(binOf[i+1])
		for len(t.epochs) <= bin {
			t.epochs, t.improved = append(t.epochs, 0), append(t.improved, 0)
		}
		t.epochs[bin]++
		if reference-loss > rule.GetMinDelta() {
			reference, waited = loss, 0
			t.improved[bin]++
		} else {
			waited++
		}
	}
	return t, waited
}
