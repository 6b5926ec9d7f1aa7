package pruning

import trellisv1 "trellis/proto/trellis/v1"

// Stage returns the epoch at which the run's next attempt must end: the next rung, where pruning judges the run again,
// or its last epoch.
//
// An attempt that ends there reports success at its maximum epochs, which is below the run's. The same happens to an
// attempt that is in progress when its study is extended by more epochs. The run becomes PENDING again, and continues
// from its checkpoint unless pruning holds it.
func Stage(study *trellisv1.Study, run *trellisv1.Run) uint32 {
	last := run.GetParameters().GetMaxEpochs()
	r := Of(study.GetSpec())
	if r == nil || run.GetSpared() {
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

// StandingAt returns a run's standing at a rung at which it counts, given its validation losses.
func StandingAt(r Rule, run *trellisv1.Run, validation []float64, rung uint32) Standing {
	return Standing{r.Result(upTo(validation, rung)), run.GetFirstTrial(), run.GetId()}
}

// GoesOn says whether a run continues from a rung at which it counts, given its validation losses and all results at
// the rung.
func GoesOn(r Rule, run *trellisv1.Run, validation []float64, rung uint32, at *Standings) bool {
	return r.Passes(at, StandingAt(r, run, validation, rung), upTo(validation, rung))
}

// upTo returns the losses up to a rung. A run that has ended by itself may have fewer.
func upTo(losses []float64, rung uint32) []float64 { return losses[:min(len(losses), int(rung))] }
