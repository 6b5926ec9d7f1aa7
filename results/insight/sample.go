package insight

import (
	"bytes"
	"math/bits"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
	"trellis/results/importance"
	"trellis/results/listing"
	"trellis/results/objective"
)

const (
	// maxRead is how many trials with results are all compared. Of more, a sample is.
	maxRead = 1 << 15
	// maxSampled is how many trials a sample has at most, besides the best.
	maxSampled = 1 << 12
)

// inSample says whether a trial is in a sample of about one of 2^level: this follows from its index alone. A sample of a higher
// level is part of one of a lower level.
func inSample(index uint64, level int) bool {
	// The finalizer of splitmix64 (G. Steele, D. Lea and C. Flood, 2014).
	index += 0x9e3779b97f4a7c15
	index = (index ^ index>>30) * 0xbf58476d1ce4e5b9
	index = (index ^ index>>27) * 0x94d049bb133111eb
	return bits.TrailingZeros64(index^index>>31) >= level
}

// newSample surveys the best of a study's trials, whose configurations differ, and a sample of the others: all, if they are no
// more than most. It reads the
// ranking, which has the objectives, and not the trials.
func newSample(snapshot *results.Snapshot, study *trellisv1.Study, most int) (*survey, error) {
	axes, err := newSpace(snapshot, study)
	if err != nil {
		return nil, err
	}
	s := &survey{
		study: study, objective: objective.Of(study.GetSpec()), axes: axes, unanswered: map[trellisv1.TrialState]uint64{},
	}
	finite, diverged, err := s.sampleKeys(snapshot, most)
	if err != nil {
		return nil, err
	}
	ranking, at := listing.RankingOf(study.GetSpec()), map[point]int{}
	for _, k := range finite {
		its, err := s.findingAt(snapshot, k.Index())
		if err != nil {
			return nil, err
		}
		its.loss = objective.Loss(s.objective, ranking.ObjectiveOf(k))
		// Two trials have the same point if one has been added with another seed: the sample has the better one.
		if _, again := at[its.point]; !again {
			at[its.point] = len(s.findings)
			s.findings = append(s.findings, its)
		}
	}
	for _, k := range diverged {
		its, err := s.findingAt(snapshot, k.Index())
		if err != nil {
			return nil, err
		}
		s.diverged = append(s.diverged, its.point)
	}
	s.seeds = 1
	s.countUnanswered()
	s.compared = s.levelsOf(s.findings)
	s.tried = s.allLevels()
	return s, nil
}

// sampleKeys returns the keys of the sample, best first, and counts those of which it is one.
func (s *survey) sampleKeys(snapshot *results.Snapshot, most int) (finite, diverged []listing.Key, err error) {
	sample := func(level [2]int, take func(kind int, k listing.Key)) error {
		keys, err := snapshot.RankedKeys(s.study.GetName())
		if err != nil {
			return err
		}
		for k := range keys {
			kind := 0
			if bytes.Compare(k[:], listing.LastFinite[:]) > 0 {
				kind = 1
			}
			if level[kind] == 0 || inSample(k.Index(), level[kind]) {
				take(kind, k)
			}
		}
		return snapshot.Err()
	}
	var counts [2]uint64
	if err := sample([2]int{}, func(kind int, _ listing.Key) { counts[kind]++ }); err != nil {
		return nil, nil, err
	}
	s.divergedTotal = counts[1]
	// So few that chance hardly makes them more.
	var levels [2]int
	for kind, n := range counts {
		if n <= uint64(most) {
			continue
		}
		for ; n > uint64(most)*3/4; n /= 2 {
			levels[kind]++
		}
	}
	if levels[0] > 0 {
		s.sampledFrom = counts[0]
	}
	var sampled [2][]listing.Key
	err = sample(levels, func(kind int, k listing.Key) {
		if len(sampled[kind]) < most {
			sampled[kind] = append(sampled[kind], k)
		}
	})
	if err != nil {
		return nil, nil, err
	}
	if best, ok, err := snapshot.FirstRanked(s.study.GetName()); err != nil {
		return nil, nil, err
	} else if ok && counts[0] > 0 && (len(sampled[0]) == 0 || sampled[0][0] != best) {
		sampled[0] = append([]listing.Key{best}, sampled[0]...)
	}
	return sampled[0], sampled[1], nil
}

// findingAt returns the finding at a trial, without its loss.
func (s *survey) findingAt(snapshot *results.Snapshot, index uint64) (finding, error) {
	at, err := snapshot.Point(s.study.GetName(), index)
	if err != nil {
		return finding{}, err
	}
	points := s.axes.points(at)
	return finding{
		latentDim: s.axes.number(point(points), s.axes.latentDim), maxEpochs: at.MaxEpochs, answered: 1, index: index,
		point: s.axes.at(points, at.MaxEpochs),
	}, nil
}

// leavePairs makes the shares of pairs of axes part of the rest where a sample can't tell: it has few points for each combination
// of their values, so that these explain chance.
func (s *survey) leavePairs(shares *importance.Result, axes []int) {
	const fewPoints = 4
	if s.sampledFrom == 0 {
		return
	}
	shares.Pairs = slices.DeleteFunc(shares.Pairs, func(pair importance.Pair) bool {
		if len(s.compared[axes[pair.First]])*len(s.compared[axes[pair.Second]])*fewPoints <= len(s.findings) {
			return false
		}
		shares.Rest += pair.Share
		for _, axis := range []int{pair.First, pair.Second} {
			shares.Total[axis] = max(shares.Main[axis], shares.Total[axis]-pair.Share)
		}
		return true
	})
}

// countUnanswered counts the configurations without results, each of which has one trial.
func (s *survey) countUnanswered() {
	p := s.study.GetProgress()
	for state, trials := range map[trellisv1.TrialState]uint64{
		trellisv1.TrialState_TRIAL_STATE_FAILED: p.TrialsFailed, trellisv1.TrialState_TRIAL_STATE_PRUNED: p.TrialsPruned,
		trellisv1.TrialState_TRIAL_STATE_CANCELED: p.TrialsCanceled,
		trellisv1.TrialState_TRIAL_STATE_PENDING: p.Trials - p.TrialsSucceeded - p.TrialsFailed - p.TrialsPruned -
			p.TrialsCanceled,
	} {
		if trials > 0 {
			s.unanswered[state] = trials
		}
	}
}

// allLevels returns the levels that the study's grids have, and those of the sample.
func (s *survey) allLevels() [][]uint32 {
	has := map[string]map[grid.ValueKey]bool{}
	for _, its := range grid.Parameters(s.study.GetSpec()) {
		has[its.Name] = map[grid.ValueKey]bool{}
		for _, value := range its.Values {
			has[its.Name][grid.KeyOf(value)] = true
		}
	}
	all := s.levelsOf(s.findings)
	for axis, levels := range all {
		there := map[uint32]bool{}
		for _, level := range levels {
			there[level] = true
		}
		for level, value := range s.axes.values[axis] {
			if value != nil && has[s.axes.names[axis]][grid.KeyOf(value)] {
				there[uint32(level)] = true
			}
		}
		all[axis] = s.axes.sorted(axis, there)
	}
	return all
}
