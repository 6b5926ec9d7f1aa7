package results

import (
	"math"

	trellisv1 "trellis/proto/trellis/v1"
)

// rule is a heuristic that holds runs which promise little: they are PRUNED. It judges them at rungs, which are epochs. What
// a run has shown by a rung is its result there; lower is better.
type rule interface {
	// next is the first rung above an epoch.
	next(epoch uint32) uint64
	// result is what validation losses, those up to the rung, are worth: a number, or +Inf if they are worth nothing.
	result(losses []float64) float64
	// best is how many of n runs that have come to a rung go on because they are the best there: whoever is held is taken up
	// again when it becomes one of them.
	best(n int) int
	// passes says whether a run goes on that has come to the end of a stage, by all results at the rung, its own there and
	// its validation losses up to it.
	passes(at *standings, own standing, losses []float64) bool
}

var (
	_ rule = asha{}
	_ rule = median{}
)

// ruleOf is the rule of a study, nil if it is exact. Numbers that no valid spec has are taken for the nearest valid ones.
func ruleOf(spec *trellisv1.StudySpec) rule {
	switch method := spec.GetPruning().GetMethod().(type) {
	case *trellisv1.Pruning_Asha:
		return asha{max(1, method.Asha.GetMinEpochs()), max(2, method.Asha.GetReductionFactor())}
	case *trellisv1.Pruning_Median:
		m := method.Median
		return median{max(1, m.GetMinEpochs()), max(1, m.GetInterval()), max(1, m.GetMinRuns())}
	}
	return nil
}

// asha is the asynchronous successive halving algorithm in its promotion type: L. Li et al., A System for Massively Parallel
// Hyperparameter Tuning, MLSys 2020, algorithm 2. A run is held at each rung unless it is among the best 1/eta, rounded down,
// of the runs that have come there so far; whenever these are more, the next best is taken up again.
type asha struct{ minEpochs, eta uint32 }

func (a asha) next(epoch uint32) uint64 {
	rung := uint64(a.minEpochs)
	for rung <= uint64(epoch) {
		rung *= uint64(a.eta)
	}
	return rung
}

// result is the lowest loss.
func (a asha) result(losses []float64) float64 { return lowest(losses) }

func (a asha) best(n int) int { return n / int(a.eta) }

func (a asha) passes(at *standings, own standing, _ []float64) bool {
	return at.place(own) < a.best(at.size())
}

// median is the median stopping rule: D. Golovin et al., Google Vizier: A Service for Black-Box Optimization, KDD 2017,
// section 3.2.2. A run is held if its lowest loss is above the median of what the losses of the others were on average, once
// there are enough others.
type median struct{ minEpochs, interval, minRuns uint32 }

func (m median) next(epoch uint32) uint64 {
	if epoch < m.minEpochs {
		return uint64(m.minEpochs)
	}
	return uint64(m.minEpochs) + (uint64(epoch-m.minEpochs)/uint64(m.interval)+1)*uint64(m.interval)
}

// result is the mean of the losses.
func (m median) result(losses []float64) float64 {
	sum := 0.0
	for _, loss := range losses {
		sum += loss
	}
	return finiteOrLast(sum / float64(len(losses)))
}

// best is none: whoever is held stays so.
func (m median) best(int) int { return 0 }

func (m median) passes(at *standings, own standing, losses []float64) bool {
	others, place := at.size()-1, at.place(own)
	if others < int(m.minRuns) {
		return true
	}
	other := func(i int) float64 {
		if i >= place {
			i++
		}
		return at.at(i).result
	}
	// The conversions keep a compiler from fusing what replicas on other machines don't.
	return !(lowest(losses) > float64(other((others-1)/2)/2)+float64(other(others/2)/2))
}

// lowest is the lowest finite loss, +Inf if there is none.
func lowest(losses []float64) float64 {
	best := math.Inf(1)
	for _, loss := range losses {
		if loss < best && !math.IsInf(loss, -1) {
			best = loss
		}
	}
	return best
}

// finiteOrLast takes what is no finite number to what ranks last.
func finiteOrLast(result float64) float64 {
	if math.IsNaN(result) || math.IsInf(result, 0) {
		return math.Inf(1)
	}
	return result
}

// cameTo is the epoch up to which a run counts at rungs. One that has ended by itself counts wherever it could have come to,
// with what it has.
func cameTo(run *trellisv1.Run) uint32 {
	if run.State == runSucceeded {
		return run.Parameters.GetMaxEpochs()
	}
	return run.Epochs
}

// rungOf is the rung that a run stands at: the last one that its epochs have reached. 0 if there is none below its end.
func rungOf(r rule, run *trellisv1.Run) uint32 {
	rung := uint32(0)
	for next := r.next(0); next <= uint64(run.Epochs) && next < uint64(run.Parameters.GetMaxEpochs()); next = r.next(rung) {
		rung = uint32(next)
	}
	return rung
}

// lossesUpTo are a run's validation losses up to a rung that it counts at.
func (m *member) lossesUpTo(rung uint32) []float64 {
	losses := m.losses.GetValidationLoss()
	return losses[:min(len(losses), int(rung))]
}

// standingAt is a run's place at a rung that it counts at.
func standingAt(r rule, m *member, rung uint32) standing {
	return standing{r.result(m.lossesUpTo(rung)), m.run.FirstTrial, m.run.Id}
}
