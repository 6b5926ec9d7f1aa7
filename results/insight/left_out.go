package insight

import trellisv1 "trellis/proto/trellis/v1"

// leftOutTotal returns how many configurations can't be compared.
func (s *survey) leftOutTotal() uint64 {
	total := s.divergedTotal
	for _, count := range s.unanswered {
		total += count
	}
	return total
}

// leftOut returns the reasons why configurations can't be compared.
func (s *survey) leftOut() *trellisv1.Importance_LeftOut {
	return &trellisv1.Importance_LeftOut{
		Diverged: s.divergedTotal,
		Failed:   s.unanswered[trellisv1.TrialState_TRIAL_STATE_FAILED],
		Pruned:   s.unanswered[trellisv1.TrialState_TRIAL_STATE_PRUNED],
		Canceled: s.unanswered[trellisv1.TrialState_TRIAL_STATE_CANCELED],
		Open: s.unanswered[trellisv1.TrialState_TRIAL_STATE_PENDING] +
			s.unanswered[trellisv1.TrialState_TRIAL_STATE_RUNNING],
	}
}

// divergedAt returns the values that all diverged configurations have in common, if several diverged. These matter more
// than any share can show.
func (s *survey) divergedAt() (common []*trellisv1.Importance_AxisValue) {
	if len(s.diverged) < 2 {
		return nil
	}
	for i, name := range s.axes.names {
		level, same := s.diverged[0].levelAt(i), len(s.tried[i]) > 1
		for k := range s.diverged {
			same = same && s.diverged[k].levelAt(i) == level
		}
		if same {
			common = append(common, &trellisv1.Importance_AxisValue{Axis: name, Value: s.axes.values[i][level]})
		}
	}
	return common
}
