package worker

import (
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

// programStopping ends a program whose metric no longer improves, by the rule by which the trainer ends a model's run.
type programStopping struct {
	metric string
	rule   trainer.EarlyStopping
	state  trainer.Patience
	// ended is the epoch of the history with which the run has ended, 0 if it goes on.
	ended int
}

// newProgramStopping returns the rule of a run as it is after the epochs of which the history is. It returns nil if the run
// never stops early.
func newProgramStopping(
	its *trellisv1.EarlyStopping, history map[string]*trellisv1.Series, epochs int,
) *programStopping {
	if its.GetPatience() == 0 {
		return nil
	}
	s := &programStopping{metric: its.GetMetric(), rule: trainer.EarlyStopping{
		Patience: int(its.GetPatience()), MinDelta: its.GetMinDelta(),
		Maximize: its.GetDirection() == trellisv1.Direction_DIRECTION_MAXIMIZE,
	}}
	s.state = trainer.NewPatience(s.rule)
	series := history[s.metric]
	for i, value := range series.GetValues()[:min(epochs, len(series.GetValues()))] {
		_, missing := slices.BinarySearch(series.GetMissing(), uint32(i))
		if s.state.Observe(s.rule, value, !missing) && s.ended == 0 {
			s.ended = i + 1
		}
	}
	return s
}

// endedAt returns the epoch with which the run has ended already: its worker was lost between the last checkpoint and
// the outcome. It returns 0 if the run goes on.
func (s *programStopping) endedAt() int {
	if s == nil {
		return 0
	}
	return s.ended
}

// observe takes in an epoch's metrics, and says whether the run ends with it.
func (s *programStopping) observe(metrics map[string]float64) (stop bool) {
	if s == nil {
		return false
	}
	value, reported := metrics[s.metric]
	return s.state.Observe(s.rule, value, reported)
}
