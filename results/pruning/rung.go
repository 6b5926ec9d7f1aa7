package pruning

import trellisv1 "trellis/proto/trellis/v1"

// Stage is the epoch at which the run's next attempt is to end: the next rung, where pruning looks at the run again, or
// its last epoch.
//
// An attempt that ends there says that it has succeeded by its maximum of epochs, which is below the run's. So does one
// that was under way when its study was extended by more epochs. The run is PENDING again, and goes on from its
// checkpoint unless pruning holds it.
func Stage(study *trellisv1.Study, run *trellisv1.Run) uint32 {
	last := run.GetParameters().GetMaxEpochs()
	r := Of(study.GetSpec())
	if r == nil || run.GetSpared() {
		return last
	}
	return uint32(min(r.Next(run.GetEpochs()), uint64(last)))
}

// CameTo is the epoch up to which a run counts at rungs. One that has ended by itself counts wherever it could have
// come to, with what it has.
func CameTo(run *trellisv1.Run) uint32 {
	if run.GetState() == trellisv1.RunState_RUN_STATE_SUCCEEDED {
		return run.GetParameters().GetMaxEpochs()
	}
	return run.GetEpochs()
}

// RungOf is the rung that a run stands at: the last one that its epochs have reached. 0 if there is none below its end.
func RungOf(r Rule, run *trellisv1.Run) uint32 {
	rung, end := uint32(0), uint64(run.GetParameters().GetMaxEpochs())
	for next := r.Next(0); next <= uint64(run.GetEpochs()) && next < end; next = r.Next(rung) {
		rung = uint32(next)
	}
	return rung
}

// StandingAt is how a run stands at a rung that it counts at, by its validation losses.
func StandingAt(r Rule, run *trellisv1.Run, validation []float64, rung uint32) Standing {
	return Standing{r.Result(upTo(validation, rung)), run.GetFirstTrial(), run.GetId()}
}

// GoesOn says whether a run goes on from a rung that it counts at, by its validation losses and all results at the
// rung.
func GoesOn(r Rule, run *trellisv1.Run, validation []float64, rung uint32, at *Standings) bool {
	return r.Passes(at, StandingAt(r, run, validation, rung), upTo(validation, rung))
}

// upTo are the losses up to a rung. A run that has ended by itself may have fewer.
func upTo(losses []float64, rung uint32) []float64 { return losses[:min(len(losses), int(rung))] }
