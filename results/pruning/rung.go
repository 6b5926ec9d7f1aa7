package pruning

import (
	"math"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/objective"
)

// Stage returns the epoch at which the run's next attempt must end: the next rung, where pruning judges the run again,
// or its last epoch.
//
// An attempt that ends there reports success at its maximum epochs, which is below the run's. The same happens to an
// attempt that is in progress when its study is extended by more epochs. The run becomes PENDING again, and continues
// from its checkpoint unless pruning holds it. Where runs are stopped as they train, there are no stages.
func Stage(study *trellisv1.Study, run *trellisv1.Run) uint32 {
	last := run.GetParameters().GetMaxEpochs()
	r := Of(study.GetSpec())
	if r == nil || run.GetSpared() || Stops(study.GetSpec()) {
		return last
	}
	return uint32(min(r.Next(run.GetEpochs()), uint64(last)))
}

// CameTo returns the epoch up to which a run counts at rungs. A run that has ended by itself counts up to its maximum
// epochs, with the losses that it has.
func CameTo(run *trellisv1.Run) uint32 {
	if run.GetState() == trellisv1.RunState_RUN_STATE_SUCCEEDED {
		return run.GetParameters().GetMaxEpochs()
	}
	return run.GetEpochs()
}

// RungOf returns the rung that a run is at: the last one that its epochs have reached. It is 0 if there is none below
// the run's end.
func RungOf(r Rule, run *trellisv1.Run) uint32 {
	rung, end := uint32(0), uint64(run.GetParameters().GetMaxEpochs())
	for next := r.Next(0); next <= uint64(run.GetEpochs()) && next < end; next = r.Next(rung) {
		rung = uint32(next)
	}
	return rung
}

// Reached is what a run has come to at a rung. Lower is better: of an objective that is maximized, it has the
// negatives.
type Reached struct {
	// Losses are the values of the objective's metric up to the rung, without those that are missing. A run that has
	// ended by itself may have fewer than the rung has epochs.
	Losses []float64
	// Objective is the objective after the rung's epoch, or +Inf if it is not a finite number.
	Objective float64
}

// At returns what a run has come to at a rung, given the values of the objective's metric. Nil is the lowest validation
// loss.
func At(o *trellisv1.Objective, values objective.Values, rung uint32) Reached {
	reached := Reached{objective.Losses(o, values, rung), math.Inf(1)}
	if score := objective.ScoreAt(o, values, rung); score.Epoch > 0 {
		reached.Objective = objective.Loss(o, score.Value)
	}
	return reached
}

// StandingOf returns a run's standing at a rung at which it counts.
func StandingOf(r Rule, run *trellisv1.Run, reached Reached) Standing {
	return Standing{r.Result(reached), run.GetFirstTrial(), run.GetId()}
}

// GoesOn says whether a run continues from a rung at which it counts, given all results at the rung.
func GoesOn(r Rule, run *trellisv1.Run, reached Reached, at *Standings) bool {
	return r.Passes(at, StandingOf(r, run, reached), reached)
}
