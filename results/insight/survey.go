package insight

import (
	"cmp"
	"math"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
	"trellis/results/objective"
)

// finding is what a study has found at a point of its grid.
type finding struct {
	point
	// latentDim and maxEpochs break ties.
	latentDim float64
	maxEpochs uint32
	// loss is the mean of the objectives over the seeds that have been answered; while they are counted, the sum. Lower is
	// better: where higher objectives are, it is their negative.
	loss     float64
	answered uint32
	// index is the lowest of the answered trials'; state is that of a trial which is not answered.
	index uint64
	state trellisv1.TrialState
}

// compareFindings ranks as a listing.Ranking does. Objectives are finite.
func compareFindings(a, b *finding) int {
	return cmp.Or(
		cmp.Compare(a.loss, b.loss),
		cmp.Compare(a.latentDim, b.latentDim),
		cmp.Compare(a.maxEpochs, b.maxEpochs),
		cmp.Compare(a.index, b.index),
	)
}

// best returns the finding that ranks first.
func (s *survey) best() *finding {
	best := &s.findings[0]
	for k := range s.findings {
		if compareFindings(&s.findings[k], best) < 0 {
			best = &s.findings[k]
		}
	}
	return best
}

// survey is what a study has found, point by point.
type survey struct {
	study *trellisv1.Study
	// objective is the study's. Nil: the lowest validation loss.
	objective *trellisv1.Objective
	// axes are the parameters of the points.
	axes *space
	// findings are those with a finite objective. The others are left out: diverged had another one, and unanswered
	// counts those without any by the state of their trials.
	findings   []finding
	diverged   []point
	unanswered map[trellisv1.TrialState]uint64
	// tried are the levels that the grid has on each of axes, whether or not they were answered; compared are those
	// among the findings. Numbers ascend, and other values are in the order of the grid.
	tried, compared [][]uint32
	// seeds is the greatest number of seeds that a finding is the mean of.
	seeds uint32
	// sampledFrom is of how many configurations with a finite objective the findings are a sample: 0 if they are all.
	// divergedTotal is how many have diverged.
	sampledFrom, divergedTotal uint64
	// repeated has the samples that the findings are the means of, if it is known.
	repeated *repeated
}

// newSurvey surveys a study, or a sample of its trials with results if there are many.
func newSurvey(snapshot *results.Snapshot, study string) (*survey, error) {
	row, err := snapshot.Study(nil, study)
	if err != nil {
		return nil, err
	}
	if !hasSeveralSeeds(row) {
		return newSurveyOfOneSeed(snapshot, row)
	}
	// Of trials that have ended without a result it is not kept how.
	p := row.Progress
	if len(row.Spec.Grid) == 1 && p.TrialsFailed+p.TrialsPruned+p.TrialsCanceled == 0 {
		if table, err := repeatedOf(snapshot, row); table != nil || err != nil {
			if err != nil {
				return nil, err
			}
			return newSurveyOfRepeated(snapshot, row, table)
		}
	}
	return newWholeSurvey(snapshot, row)
}

// newSurveyOfOneSeed surveys a study each of whose configurations has one trial, or has got others later.
func newSurveyOfOneSeed(snapshot *results.Snapshot, row *trellisv1.Study) (*survey, error) {
	if row.Progress.TrialsSucceeded > maxRead {
		return newSample(snapshot, row, maxSampled)
	}
	seeds, _, err := seedsOfAll(snapshot, row)
	if err != nil {
		return nil, err
	}
	if seeds == nil || len(row.Spec.Grid) > 1 {
		return newWholeSurvey(snapshot, row)
	}
	s, err := newSample(snapshot, row, maxRead)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(s.findings, byIndex)
	return s, nil
}

// newWholeSurvey reads all trials of a study.
func newWholeSurvey(snapshot *results.Snapshot, row *trellisv1.Study) (*survey, error) {
	study := row.Name
	runs, err := snapshot.Served(study)
	if err != nil {
		return nil, err
	}
	axes, err := newSpace(snapshot, row)
	if err != nil {
		return nil, err
	}
	result := &survey{
		study: row, objective: objective.Of(row.GetSpec()), axes: axes, unanswered: map[trellisv1.TrialState]uint64{},
	}
	// There are as many points as trials, unless there are several seeds: enough room saves half of the time.
	all := make([]finding, 0, row.Progress.Trials)
	places := make(map[point]uint32, row.Progress.Trials)
	several := map[uint32][]term{}
	for its := range runs {
		points := result.axes.points(its.Run.Parameters)
		latentDim := result.axes.number(point(points), result.axes.latentDim)
		for i, maxEpochs := range its.Run.Milestones {
			at := result.axes.at(points, maxEpochs)
			place, ok := places[at]
			if !ok {
				place = uint32(len(all))
				places[at] = place
				all = append(all, finding{point: at, latentDim: latentDim, maxEpochs: maxEpochs})
			}
			if i >= len(its.Answers) {
				all[place].state = its.Unanswered()
				continue
			}
			its := termOf(its.Answers[i], result.objective)
			switch found := &all[place]; {
			case found.answered == 0:
				found.index, found.loss = its.index, its.loss
			case found.answered == 1:
				several[place] = []term{{found.index, found.loss}, its}
			default:
				several[place] = append(several[place], its)
			}
			all[place].answered++
		}
	}
	if err := snapshot.Err(); err != nil {
		return nil, err
	}
	for place, terms := range several {
		slices.SortFunc(terms, func(a, b term) int { return cmp.Compare(a.index, b.index) })
		all[place].index, all[place].loss = terms[0].index, 0
		for _, its := range terms {
			all[place].loss += its.loss
		}
	}
	result.tried = result.levelsOf(all)
	result.findings = result.compare(all)
	slices.SortFunc(result.findings, byIndex)
	result.compared = result.levelsOf(result.findings)
	result.divergedTotal = uint64(len(result.diverged))
	return result, nil
}

// compare makes means of sums, and returns what has a finite one.
func (s *survey) compare(all []finding) []finding {
	compared := all[:0]
	for _, f := range all {
		if f.answered == 0 {
			s.unanswered[f.state]++
			continue
		}
		f.loss /= float64(f.answered)
		if math.IsNaN(f.loss) || math.IsInf(f.loss, 0) {
			s.diverged = append(s.diverged, f.point)
			continue
		}
		s.seeds = max(s.seeds, f.answered)
		compared = append(compared, f)
	}
	return compared
}

// term is what one trial adds to the sum of a finding. Terms are added, and findings are analyzed, in the order of the trials'
// indexes, in whatever order they were trained and are read: else the last bits would tell.
type term struct {
	index uint64
	loss  float64
}

func termOf(trial *trellisv1.Trial, o *trellisv1.Objective) term {
	if trial.Objective == nil {
		return term{trial.Index, math.NaN()}
	}
	return term{trial.Index, objective.Loss(o, *trial.Objective)}
}

func byIndex(a, b finding) int { return cmp.Compare(a.index, b.index) }

// levelsOf returns the findings' distinct levels on each axis, in the order of their values.
func (s *survey) levelsOf(findings []finding) [][]uint32 {
	all := make([][]uint32, len(s.axes.names))
	for axis := range all {
		has := map[uint32]bool{}
		for k := range findings {
			has[findings[k].levelAt(axis)] = true
		}
		all[axis] = s.axes.sorted(axis, has)
	}
	return all
}

// sorted returns levels of the axis at a place, in the order of their values.
func (s *space) sorted(axis int, has map[uint32]bool) (levels []uint32) {
	for level := range s.values[axis] {
		if has[uint32(level)] {
			levels = append(levels, uint32(level))
		}
	}
	if s.isOrdered(axis) {
		values := s.values[axis]
		slices.SortFunc(levels, func(a, b uint32) int { return grid.Compare(values[a], values[b]) })
	}
	return levels
}
