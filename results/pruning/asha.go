package pruning

import (
	"cmp"

	trellisv1 "trellis/proto/trellis/v1"
)

// Defaults of ASHA.
const (
	DefaultASHAMinEpochs       = 10
	DefaultASHAReductionFactor = 2
)

type ashaSettings struct{ *trellisv1.SuccessiveHalving }

func (s ashaSettings) name() string { return "successive halving (ASHA)" }

func (s ashaSettings) setDefaults() {
	s.MinEpochs = cmp.Or(s.MinEpochs, DefaultASHAMinEpochs)
	s.ReductionFactor = cmp.Or(s.ReductionFactor, DefaultASHAReductionFactor)
}

func (s ashaSettings) check(longest uint32) *Problem {
	return neverJudges(s.GetMinEpochs(), longest, "asha", "min_epochs")
}

func (s ashaSettings) rule(stopping bool) Rule {
	return asha{max(1, s.GetMinEpochs()), max(2, s.GetReductionFactor()), stopping}
}

// asha is the asynchronous successive halving algorithm in its promotion type: L. Li et al., A System for Massively
// Parallel Hyperparameter Tuning, MLSys 2020, algorithm 2. A run is held at each rung unless it is among the best
// 1/eta, rounded down, of the runs that have reached the rung so far. Whenever this number grows, the next best run is
// promoted.
//
// In its stopping type, no run waits: it goes on if it is among the best 1/eta, rounded up, of those that have reached
// the rung so far, itself included, and is otherwise ended for good. So the first run at a rung goes on.
type asha struct {
	minEpochs, eta uint32
	stopping       bool
}

// Next implements Rule: rungs are minEpochs times the powers of eta.
func (a asha) Next(epoch uint32) uint64 {
	rung := uint64(a.minEpochs)
	for rung <= uint64(epoch) {
		rung *= uint64(a.eta)
	}
	return rung
}

// Result is the objective.
func (a asha) Result(reached Reached) float64 { return reached.Objective }

// Best implements Rule.
func (a asha) Best(n int) int {
	if a.stopping {
		return 0
	}
	return n / int(a.eta)
}

// Passes implements Rule.
func (a asha) Passes(at *Standings, own Standing, _ Reached) bool {
	if a.stopping {
		return at.Place(own) < (at.Size()+int(a.eta)-1)/int(a.eta)
	}
	return at.Place(own) < a.Best(at.Size())
}
