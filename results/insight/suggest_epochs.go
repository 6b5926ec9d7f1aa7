package insight

import (
	"fmt"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// suggestEpochs returns the max_epochs of a suggested study whose grid has so many points besides, and says why. trials are
// those of the best configuration.
//
// Fewer epochs are a prefix of the same runs, never better and free of cost. So there is nothing to be found between the
// values that were tried: the question is only whether to train for longer.
func (s *survey) suggestEpochs(trials []*trellisv1.Trial, points int) (values []float64, reason string) {
	tried, highest := s.tried[maxEpochsAxis], s.boundsOf(maxEpochsAxis, nil).GetMaximum()
	longest, best := tried[len(tried)-1], trials[0]
	var early, late int
	for _, trial := range trials {
		maxEpochs := trial.GetParameters().GetMaxEpochs()
		switch {
		case trial.GetEpochs() < maxEpochs:
			early++
		case 10*trial.GetBestEpoch() > 9*maxEpochs:
			late++
		}
	}
	maxEpochs := float64(best.GetParameters().GetMaxEpochs())
	stays := func(value float64, why string) ([]float64, string) {
		return []float64{value}, fmt.Sprintf("max_epochs stays at %s: %s", numberText(value), why)
	}
	switch {
	case 2*early >= len(trials):
		return stays(longest, fmt.Sprintf("the best configuration stops early, after %d epochs", best.GetEpochs()))
	case maxEpochs < longest && s.study.GetSpec().GetEarlyStopping() != nil:
		return stays(longest, fmt.Sprintf("the best configuration needs no more than %s, and runs stop by themselves",
			numberText(maxEpochs)))
	case maxEpochs < longest || 2*late < len(trials):
		return stays(maxEpochs, fmt.Sprintf("the best configuration has its lowest loss in epoch %d", best.GetBestEpoch()))
	case longest >= highest:
		return stays(longest, "it is the largest that there can be")
	}
	longer := min(s.longer(), highest)
	values = []float64{longest, longer}
	if 2*uint64(points)*grid.Repetitions(s.study.GetSpec()) > s.study.GetProgress().GetTrials() {
		values = values[1:]
	}
	return values, fmt.Sprintf("max_epochs goes on to %s: the best configuration still got better in epoch %d of %s",
		numberText(longer), best.GetBestEpoch(), numberText(maxEpochs))
}

// longer is the next value of max_epochs: as many epochs more as the last one was, or twice as many as the only one.
func (s *survey) longer() float64 {
	tried := s.tried[maxEpochsAxis]
	longest := tried[len(tried)-1]
	if len(tried) == 1 {
		return 2 * longest
	}
	return 2*longest - tried[len(tried)-2]
}

// untried says whether no trial of the study goes on for so long.
func (s *survey) untried(maxEpochs float64) bool {
	return maxEpochs > slices.Max(s.tried[maxEpochsAxis])
}
