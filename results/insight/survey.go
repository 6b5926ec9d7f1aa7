package insight

import (
	"cmp"
	"maps"
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
		cmp.Compare(a.common.At(grid.LatentDim), b.common.At(grid.LatentDim)),
		cmp.Compare(a.common.At(grid.MaxEpochs), b.common.At(grid.MaxEpochs)),
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
	// own are the names of the axes that only the study's model has; axes are these and those that every study has.
	own  []string
	axes []axis
	// findings are those with a finite objective. The others are left out: diverged had another one, and unanswered
	// counts those without any by the state of their trials.
	findings   []finding
	diverged   []point
	unanswered map[trellisv1.TrialState]uint64
	// tried are the values that the grid has on each of axes, whether or not they were answered; compared are those
	// among the findings. Both ascend.
	tried, compared [][]float64
	// seeds is the greatest number of seeds that a finding is the mean of.
	seeds uint32
}

// newSurvey reads all trials of a study.
func newSurvey(snapshot *results.Snapshot, study string) (*survey, error) {
	row, err := snapshot.Study(nil, study)
	if err != nil {
		return nil, err
	}
	runs, err := snapshot.Served(study)
	if err != nil {
		return nil, err
	}
	result := &survey{
		study: row, objective: objective.Of(row.GetSpec()), own: grid.OwnAxes(row.GetSpec()),
		unanswered: map[trellisv1.TrialState]uint64{},
	}
	result.axes = axesWith(result.own)
	// There are as many points as trials, unless there are several seeds: enough room saves half of the time.
	all := make([]finding, 0, row.Progress.Trials)
	places := make(map[point]uint32, row.Progress.Trials)
	for its := range runs {
		values := ownValuesOf(its.Run.Parameters, result.own)
		for i, maxEpochs := range its.Run.Milestones {
			at := newPoint(its.Run.Parameters, maxEpochs, values)
			place, ok := places[at]
			if !ok {
				place = uint32(len(all))
				places[at] = place
				all = append(all, finding{point: at})
			}
			all[place].add(its, i, result.objective)
		}
	}
	if err := snapshot.Err(); err != nil {
		return nil, err
	}
	result.tried = result.valuesOf(all)
	result.findings = result.compare(all)
	result.compared = result.valuesOf(result.findings)
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

// add takes in the trial of a run's milestone.
func (f *finding) add(its results.Served, milestone int, o *trellisv1.Objective) {
	if milestone >= len(its.Answers) {
		f.state = its.Unanswered()
		return
	}
	trial := its.Answers[milestone]
	if f.answered == 0 || trial.Index < f.index {
		f.index = trial.Index
	}
	f.answered++
	if trial.Objective == nil {
		f.loss = math.NaN()
		return
	}
	f.loss += objective.Loss(o, *trial.Objective)
}

// valuesOf returns the findings' distinct values on each axis, ascending.
func (s *survey) valuesOf(findings []finding) [][]float64 {
	values := make([][]float64, len(s.axes))
	for i, axis := range s.axes {
		distinct, last := map[float64]struct{}{}, math.NaN()
		for k := range findings {
			// Most neighbors differ on one axis alone.
			if value := axis.value(&findings[k].point); value != last {
				distinct[value], last = struct{}{}, value
			}
		}
		values[i] = slices.Sorted(maps.Keys(distinct))
	}
	return values
}
