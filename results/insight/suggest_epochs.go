package insight

import (
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// suggestEpochs says which max_epochs a suggested study has whose grid has so many points besides, and why. trials are
// those of the best configuration.
//
// Fewer epochs are a prefix of the same runs, never better and free of cost. So there is nothing to be found between
// the values that were tried: the question is only whether to train for longer.
func (s *survey) suggestEpochs(trials []*trellisv1.Trial, points int) *trellisv1.AxisChoice {
	tried, highest := s.numbers(s.axes.maxEpochs), grid.Axis(nil, grid.MaxEpochs).GetMaximum()
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
	choice := &trellisv1.AxisChoice{
		Axis: grid.MaxEpochs, Best: epochsValue(maxEpochs), Epoch: best.GetBestEpoch(),
		Values: []*trellisv1.Value{epochsValue(longest)},
	}
	switch {
	case 2*early >= len(trials):
		choice.Reason, choice.Epoch = trellisv1.AxisChoice_REASON_STOPS_EARLY, best.GetEpochs()
	case maxEpochs < longest && s.study.GetSpec().GetEarlyStopping() != nil:
		choice.Reason = trellisv1.AxisChoice_REASON_NEEDS_FEWER
	case maxEpochs < longest || 2*late < len(trials):
		choice.Reason, choice.Values = trellisv1.AxisChoice_REASON_LOWEST_BEFORE_END, []*trellisv1.Value{choice.Best}
	case longest >= highest:
		choice.Reason = trellisv1.AxisChoice_REASON_LARGEST_POSSIBLE
	default:
		choice.Reason, choice.Values = trellisv1.AxisChoice_REASON_STILL_BETTER, []*trellisv1.Value{
			epochsValue(longest), epochsValue(min(s.longer(), highest)),
		}
		if 2*uint64(points)*grid.Repetitions(s.study.GetSpec()) > s.study.GetProgress().GetTrials() {
			choice.Values = choice.Values[1:]
		}
	}
	return choice
}

// longer is the next value of max_epochs: as many epochs more as the last one was, or twice as many as the only one.
func (s *survey) longer() float64 {
	tried := s.numbers(s.axes.maxEpochs)
	longest := tried[len(tried)-1]
	if len(tried) == 1 {
		return 2 * longest
	}
	return 2*longest - tried[len(tried)-2]
}

// untried says whether no trial of the study goes on for so long.
func (s *survey) untried(maxEpochs *trellisv1.Value) bool {
	tried := s.numbers(s.axes.maxEpochs)
	return float64(maxEpochs.GetInteger()) > tried[len(tried)-1]
}

func epochsValue(epochs float64) *trellisv1.Value { return trellisv1.IntegerValue(int64(epochs)) }
