package results

import trellisv1 "trellis/proto/trellis/v1"

// Stage is the epoch at which the run's next attempt is to end: where pruning looks at the run again, or its last.
//
// An attempt that ends there says that it has succeeded by its maximum of epochs, which is below the run's. So does one that
// was under way when its study was extended by more epochs. The run is PENDING again, and goes on from its checkpoint.
func Stage(study *trellisv1.Study, run *trellisv1.Run) uint32 {
	return run.GetParameters().GetMaxEpochs()
}

// endStage decides what becomes of a run, PENDING by now, whose attempt has ended before the run.
func (c *change) endStage(handle) error { return nil }
