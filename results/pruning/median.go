package pruning

import (
	"cmp"

	trellisv1 "trellis/proto/trellis/v1"
)

// Defaults of median stopping.
const (
	DefaultMedianMinEpochs = 10
	DefaultMedianInterval  = 10
	DefaultMedianMinRuns   = 5
)

type medianSettings struct{ *trellisv1.MedianStopping }

func (s medianSettings) name() string { return "median stopping" }

func (s medianSettings) setDefaults() {
	s.MinEpochs = cmp.Or(s.MinEpochs, DefaultMedianMinEpochs)
	s.Interval = cmp.Or(s.Interval, DefaultMedianInterval)
	s.MinRuns = cmp.Or(s.MinRuns, DefaultMedianMinRuns)
}

func (s medianSettings) check(longest uint32) *Problem {
	return neverJudges(s.GetMinEpochs(), longest, "median", "min_epochs")
}

func (s medianSettings) rule(bool) Rule {
	return median{max(1, s.GetMinEpochs()), max(1, s.GetInterval()), max(1, s.GetMinRuns())}
}

// median is the median stopping rule: D. Golovin et al., Google Vizier: A Service for Black-Box Optimization, KDD 2017,
// section 3.2.2. A run is held if its objective, by default the lowest loss, is above the median of the other runs' mean
// losses, once there are enough other runs.
type median struct{ minEpochs, interval, minRuns uint32 }

// Next implements Rule: rungs are minEpochs and every interval from there on.
func (m median) Next(epoch uint32) uint64 {
	if epoch < m.minEpochs {
		return uint64(m.minEpochs)
	}
	return uint64(m.minEpochs) + (uint64(epoch-m.minEpochs)/uint64(m.interval)+1)*uint64(m.interval)
}

// Result is the mean of the losses.
func (m median) Result(reached Reached) float64 {
	sum := 0.0
	for _, loss := range reached.Losses {
		sum += loss
	}
	return finiteOrLast(sum / float64(len(reached.Losses)))
}

// Best is none: a run that is held is never promoted.
func (m median) Best(int) int { return 0 }

// Passes implements Rule.
func (m median) Passes(at *Standings, own Standing, reached Reached) bool {
	others, place := at.Size()-1, at.Place(own)
	if others < int(m.minRuns) {
		return true
	}
	other := func(i int) float64 {
		if i >= place {
			i++
		}
		return at.At(i).Result
	}
	// The conversions keep compilers from fusing operations, which some platforms do: replicas must agree bit for bit.
	return !(reached.Objective > float64(other((others-1)/2)/2)+float64(other(others/2)/2))
}
