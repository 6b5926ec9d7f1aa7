package insight

import (
	"cmp"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/objective"
	"trellis/results/statistics"
)

// placedFinding is a finding with the place of its first run, and which of its milestones it is: findings are in that order where
// all are read.
type placedFinding struct {
	finding
	run, milestone uint32
}

func byPlace(a, b placedFinding) int {
	return cmp.Or(cmp.Compare(a.run, b.run), cmp.Compare(a.milestone, b.milestone))
}

// placesOf returns a function that says of which run a trial is, by its place, and which of its milestones it has.
func placesOf(
	snapshot *results.Snapshot, study *trellisv1.Study,
) (func(index uint64) (run, milestone uint32), error) {
	c, err := snapshot.Catalog(study.GetName())
	return func(index uint64) (run, milestone uint32) {
		run, milestone, _ = c.Trial(index)
		return run, milestone
	}, err
}

// newSurveyOfRepeated surveys a study whose configurations all have the same seeds: all that have results, or a sample if there are
// many, and the best.
func newSurveyOfRepeated(snapshot *results.Snapshot, study *trellisv1.Study, r *repeated) (*survey, error) {
	placeOf, err := placesOf(snapshot, study)
	if err != nil {
		return nil, err
	}
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
	var found []placedFinding
	for at, sample := range samples {
		number := r.order[at]
		switch {
		case len(sample) == 0:
		case !known[at].Finite:
			if divergedLevel == 0 || inSample(uint64(number), divergedLevel) {
				s.diverged = append(s.diverged, r.points[number])
			}
		case level == 0 || at == best || inSample(uint64(number), level):
			found = append(found, s.repeatedFinding(r, sample, number, placeOf))
		}
		if at%1024 == 0 && snapshot.Err() != nil {
			return nil, snapshot.Err()
		}
	}
	slices.SortFunc(found, byPlace)
	for _, its := range found {
		s.findings = append(s.findings, its.finding)
		s.seeds = max(s.seeds, its.answered)
	}
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

// repeatedFinding returns the finding of a configuration, whose mean is the sum over its runs, in their order.
func (s *survey) repeatedFinding(
	r *repeated, sample statistics.Sample, number uint32, placeOf func(index uint64) (run, milestone uint32),
) placedFinding {
	found := placedFinding{finding: r.finding(s.axes, number)}
	seeds := s.seedsInOrder(r, number, placeOf)
	found.run, found.milestone = placeOf(r.index(number, seeds[0]))
	first := len(r.seeds)
	for _, seed := range seeds {
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

// seedsInOrder returns the seeds of a configuration in the order of its runs, by their positions.
func (s *survey) seedsInOrder(
	r *repeated, number uint32, placeOf func(index uint64) (run, milestone uint32),
) (seeds []int) {
	runs := make([]uint32, len(r.seeds))
	for seed := range r.seeds {
		seeds = append(seeds, seed)
		if s.study.GetSpec().GetOrder() == trellisv1.Order_ORDER_RANDOM { // Else they are in the order of their trials.
			runs[seed], _ = placeOf(r.index(number, seed))
		}
	}
	slices.SortStableFunc(seeds, func(a, b int) int { return cmp.Compare(runs[a], runs[b]) })
	return seeds
}

// repeatedTrialsAt is trialsAt.
func (s *survey) repeatedTrialsAt(snapshot *results.Snapshot, at *finding) (trials []*trellisv1.Trial, err error) {
	number := uint32(at.index / uint64(len(s.repeated.seeds)))
	for seed := range s.repeated.seeds {
		trial, err := answerTo(snapshot, s.study.GetName(), s.repeated.index(number, seed))
		if err != nil {
			return nil, err
		}
		if trial != nil {
			trials = append(trials, trial)
		}
	}
	return trials, snapshot.Err()
}
