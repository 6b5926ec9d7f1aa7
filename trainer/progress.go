package trainer

import (
	"fmt"
	"math"
)

// progress is how far a run has come, and what its validation losses have decided so far. It depends on the losses
// alone: not on the epochs still allowed, not on milestones.
type progress struct {
	// epoch is the last one observed; 0 before the first.
	epoch int
	// bestEpoch has the lowest finite validation loss, bestLoss; the earliest one if several do. 0 if there is none.
	bestEpoch int
	bestLoss  float64
	// reference is the last validation loss that fell by more than MinDelta below the reference before it, and waited
	// is how many epochs ago that was.
	reference float64
	waited    int
	// stopped is EarlyStopped or Diverged once the losses have ended the run, else 0.
	stopped StopReason
}

func newProgress() progress {
	return progress{bestLoss: math.NaN(), reference: math.Inf(1)}
}

// observe takes in the next epoch's mean losses and says whether this epoch is the best so far.
func (p *progress) observe(trainLoss, validationLoss float64, rule EarlyStopping) (best bool) {
	p.epoch++
	if finite(validationLoss) && (p.bestEpoch == 0 || validationLoss < p.bestLoss) {
		p.bestEpoch, p.bestLoss = p.epoch, validationLoss
		best = true
	}
	if !finite(trainLoss) || !finite(validationLoss) {
		p.stopped = Diverged
		return best
	}
	if p.reference-validationLoss > rule.MinDelta {
		p.reference, p.waited = validationLoss, 0
	} else {
		p.waited++
	}
	if rule.Patience > 0 && p.waited >= rule.Patience {
		p.stopped = EarlyStopped
	}
	return best
}

func finite(x float64) bool {
	return !math.IsNaN(x) && !math.IsInf(x, 0)
}

// check says how a decoded progress contradicts itself.
func (p *progress) check() error {
	switch {
	case p.epoch < 1 || p.bestEpoch > p.epoch || p.waited > p.epoch:
		return fmt.Errorf("epoch %d, best epoch %d and %d epochs waited do not go together", p.epoch, p.bestEpoch,
			p.waited)
	case p.bestEpoch == 0 != math.IsNaN(p.bestLoss):
		return fmt.Errorf("best epoch %d has loss %v", p.bestEpoch, p.bestLoss)
	case p.stopped != 0 && p.stopped != EarlyStopped && p.stopped != Diverged:
		return fmt.Errorf("stop reason %d is unknown", p.stopped)
	}
	return nil
}
