package trainer

import "math"

// Patience applies EarlyStopping to the values of a run's metric, epoch by epoch. It depends on the values alone, so
// that all runs with the same values stop at the same epoch, however many epochs they may have. The zero value is not
// ready: use NewPatience.
//
// Both fields are all that there is to know about the epochs before: whoever continues a run continues with them.
type Patience struct {
	// Reference is the last value that improved on the one before by more than MinDelta, and Waited is how many values
	// ago that was.
	Reference float64
	Waited    int
}

// NewPatience returns what the rule has seen before the first epoch.
func NewPatience(rule EarlyStopping) Patience {
	return Patience{Reference: worst(rule.Maximize)}
}

// Observe takes in the next epoch's value, and says whether the rule ends the run. An epoch in which the metric has no
// value, which is then not present, neither counts nor begins the count anew. A value that is not a number is no
// improvement.
func (p *Patience) Observe(rule EarlyStopping, value float64, present bool) (stop bool) {
	if !present {
		return false
	}
	improved := p.Reference-value > rule.MinDelta
	if rule.Maximize {
		improved = value-p.Reference > rule.MinDelta
	}
	if improved {
		p.Reference, p.Waited = value, 0
	} else {
		p.Waited++
	}
	return rule.Patience > 0 && p.Waited >= rule.Patience
}

// worst is a value on which every other one improves.
func worst(maximize bool) float64 {
	if maximize {
		return math.Inf(-1)
	}
	return math.Inf(1)
}
