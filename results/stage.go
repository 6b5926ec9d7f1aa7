package results

import trellisv1 "trellis/proto/trellis/v1"

// Stage is the epoch at which the run's next attempt is to end: the next rung, where pruning looks at the run again, or its
// last epoch.
//
// An attempt that ends there says that it has succeeded by its maximum of epochs, which is below the run's. So does one that
// was under way when its study was extended by more epochs. The run is PENDING again, and goes on from its checkpoint unless
// pruning holds it.
func Stage(study *trellisv1.Study, run *trellisv1.Run) uint32 {
	last := run.GetParameters().GetMaxEpochs()
	r := ruleOf(study.GetSpec())
	if r == nil || run.GetSpared() {
		return last
	}
	return uint32(min(r.next(run.GetEpochs()), uint64(last)))
}
