package results

import (
	trellisv1 "trellis/proto/trellis/v1"
)

func ashaOf(minEpochs, factor uint32) *trellisv1.Pruning {
	return &trellisv1.Pruning{Method: &trellisv1.Pruning_Asha{Asha: &trellisv1.SuccessiveHalving{
		MinEpochs: minEpochs, ReductionFactor: factor,
	}}}
}

func medianOf(minEpochs, interval, minRuns uint32) *trellisv1.Pruning {
	return &trellisv1.Pruning{Method: &trellisv1.Pruning_Median{Median: &trellisv1.MedianStopping{
		MinEpochs: minEpochs, Interval: interval, MinRuns: minRuns,
	}}}
}
