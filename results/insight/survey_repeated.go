package insight

import (
	"cmp"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/objective"
	"trellis/results/statistics"
)

// newSurveyOfRepeated surveys a study whose configurations all have the same seeds: all that have results, or a sample if there are
// many, and the best.
func newSurveyOfRepeated(snapshot *results.Snapshot, study *trellisv1.Study, r *repeated) (*survey, error) {
	s := &survey{
		repeated: r, study: study, objective: objective.Of(study.GetSpec()), axes: r.space, unanswered: map[trellisv1.TrialState]uint64{},
	}
	samples, known, err := r.follow(snapshot, study)
	if err != nil {
		return nil, err
	}
	best, finite := -1, uint64(0)
	for at, its := range known {
		switch {
		case len(samples[at]) == 0:
			s.unanswered[trellisv1.TrialState_TRIAL_STATE_PENDING]++
		case !its.Finite:
			s.divergedTotal++
		default:
			if finite++; best < 0 || its.Mean < known[best].Mean {
				best = at
			}
		}
	}
	level, divergedLevel := levelFor(finite), levelFor(s.divergedTotal)
	if level > 0 {
		s.sampledFrom = finite
	}
	for at, sample := range samples {
		number := r.order[at]
		switch {
		case len(sample) == 0:
		case !known[at].Finite:
			if divergedLevel == 0 || inSample(uint64(number), divergedLevel) {
				s.diverged = append(s.diverged, r.points[number])
			}
		case level == 0 || at == best || inSample(uint64(number), level):
			found := s.repeatedFinding(r, sample, number)
			s.findings, s.seeds = append(s.findings, found), max(s.seeds, found.answered)
		}
		if at%1024 == 0 && snapshot.Err() != nil {
			return nil, snapshot.Err()
		}
	}
	slices.SortFunc(s.findings, byIndex)
	s.compared = s.levelsOf(s.findings)
	s.tried = s.allLevels()
	return s, nil
}

// levelFor is the level of a sample of so many: see inSample. 0: all are read.
func levelFor(n uint64) (level int) {
	if n <= maxRead {
		return 0
	}
	for ; n > maxSampled*3/4; n /= 2 {
		level++
	}
	return level
}

// repeatedFinding returns the finding of a configuration.
func (s *survey) repeatedFinding(r *repeated, sample statistics.Sample, number uint32) finding {
	found := r.finding(s.axes, number)
	first := len(r.seeds)
	for seed := range r.seeds {
		at, answered := slices.BinarySearchFunc(sample, r.places[seed], func(o statistics.Observation, place int) int {
			return cmp.Compare(o.Place, place)
		})
		if !answered {
			continue
		}
		found.answered++
		found.loss += sample[at].Objective
		first = min(first, seed)
	}
	found.loss /= float64(found.answered)
	found.index = r.index(number, first)
	return found
}

// repeatedTrialsAt is trialsAt.
func (s *survey) repeatedTrialsAt(snapshot *results.Snapshot, at *finding) ([]*trellisv1.Trial, error) {
	number := uint32(at.index / uint64(len(s.repeated.seeds)))
	answers, err := s.repeated.answers(snapshot, s.study, number)
	if err != nil {
		return nil, err
	}
	answers = slices.DeleteFunc(answers, func(trial *trellisv1.Trial) bool { return trial == nil })
	return answers, snapshot.Err()
}
