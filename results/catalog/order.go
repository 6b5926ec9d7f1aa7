package catalog

import (
	"cmp"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/pruning"
)

// CompareRuns defines the order in which listed runs are trained: the longest first, and runs of the same length in the order
// of the grid. A long run that starts last would keep one worker busy while the others have nothing to do.
func CompareRuns(a, b *trellisv1.Run) int {
	return cmp.Or(
		cmp.Compare(b.Parameters.GetMaxEpochs(), a.Parameters.GetMaxEpochs()),
		cmp.Compare(a.FirstTrial, b.FirstTrial),
		strings.Compare(a.Id, b.Id),
	)
}

// Order returns the order in which a study's listed runs are trained: that of CompareRuns, except that a study that prunes
// orders runs of the same length by their ids. Pruning compares a run with those before it. Neighbors in a grid are
// alike, so in grid order many poor runs would look good. Ids are hashes, so their order is random.
func Order(study *trellisv1.Study) func(a, b *trellisv1.Run) int {
	if pruning.Of(study.GetSpec()) == nil {
		return CompareRuns
	}
	return func(a, b *trellisv1.Run) int {
		return cmp.Or(cmp.Compare(b.Parameters.GetMaxEpochs(), a.Parameters.GetMaxEpochs()),
			strings.Compare(a.Id, b.Id))
	}
}
