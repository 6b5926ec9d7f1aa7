package results

import (
	"cmp"
	"maps"
	"math"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
)

// gridAxis is one of the parameters that make a point of a grid; the seed repeats it.
type gridAxis struct {
	name  string
	value func(*gridPoint) float64
}

// gridAxes are those that every study has.
var gridAxes = []gridAxis{
	{"latent_dim", func(p *gridPoint) float64 { return float64(p.latentDim) }},
	{"learning_rate", func(p *gridPoint) float64 { return p.learningRate }},
	{"weight_decay", func(p *gridPoint) float64 { return p.weightDecay }},
	{"max_epochs", func(p *gridPoint) float64 { return float64(p.maxEpochs) }},
	{"batch_size", func(p *gridPoint) float64 { return float64(p.batchSize) }},
}

// gridAxesWith are gridAxes and behind them those that only the study's model has.
func gridAxesWith(own []string) []gridAxis {
	axes := gridAxes[:len(gridAxes):len(gridAxes)]
	for place, name := range own {
		axes = append(axes, gridAxis{name, func(p *gridPoint) float64 { return p.own.at(place) }})
	}
	return axes
}

// gridPoint is a configuration's parameters, as a key.
type gridPoint struct {
	latentDim, maxEpochs, batchSize uint32
	learningRate, weightDecay       float64
	own                             ownValues
}

func newGridPoint(p *trellisv1.Parameters, maxEpochs uint32, own ownValues) gridPoint {
	return gridPoint{
		latentDim: p.GetLatentDim(), maxEpochs: maxEpochs, batchSize: p.GetBatchSize(),
		learningRate: p.GetLearningRate(), weightDecay: p.GetWeightDecay(), own: own,
	}
}

// parameters is the point as a message, without a seed. own names its study's own axes.
func (p *gridPoint) parameters(own []string) *trellisv1.Parameters {
	return &trellisv1.Parameters{
		LatentDim: p.latentDim, LearningRate: p.learningRate, WeightDecay: p.weightDecay, MaxEpochs: p.maxEpochs,
		BatchSize: p.batchSize, Values: p.own.values(own),
	}
}

// finding is what a study has found at a point of its grid.
type finding struct {
	gridPoint
	// objective is the mean over the seeds that have been answered; while they are counted, the sum.
	objective float64
	answered  uint32
	// index is the lowest of the answered trials'; state is that of a trial which is not answered.
	index uint64
	state trellisv1.TrialState
}

// compareFindings ranks as Compare does.
func compareFindings(a, b *finding) int {
	return cmp.Or(
		compareLosses(&a.objective, &b.objective),
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
	// own are the names of the axes that only the study's model has; axes are these and those that every study has.
	own  []string
	axes []gridAxis
	// findings are those with a finite objective. The others are left out: diverged had another one, and unanswered counts
	// those without any by the state of their trials.
	findings   []finding
	diverged   []gridPoint
	unanswered map[trellisv1.TrialState]uint64
	// tried are the values that the grid has on each of axes, whether or not they were answered; compared are those among
	// the findings. Both ascend.
	tried, compared [][]float64
	// seeds is the greatest number of seeds that a finding is the mean of.
	seeds uint32
}

// survey reads all trials of a study.
func (s *Snapshot) survey(study string) (*survey, error) {
	row, err := s.Study(nil, study)
	if err != nil {
		return nil, err
	}
	members, err := s.membersOf(study)
	if err != nil {
		return nil, err
	}
	result := &survey{study: row, own: ownAxes(row.GetSpec()), unanswered: map[trellisv1.TrialState]uint64{}}
	result.axes = gridAxesWith(result.own)
	// There are as many points as trials, unless there are several seeds: enough room saves half of the time.
	all := make([]finding, 0, row.Progress.Trials)
	places := make(map[gridPoint]uint32, row.Progress.Trials)
	for member := range members {
		values := ownValuesOf(member.run.Parameters, result.own)
		for i, maxEpochs := range member.run.Milestones {
			point := newGridPoint(member.run.Parameters, maxEpochs, values)
			place, ok := places[point]
			if !ok {
				place = uint32(len(all))
				places[point] = place
				all = append(all, finding{gridPoint: point})
			}
			all[place].add(member, i)
		}
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
		f.objective /= float64(f.answered)
		if !finite(&f.objective) {
			s.diverged = append(s.diverged, f.gridPoint)
			continue
		}
		s.seeds = max(s.seeds, f.answered)
		compared = append(compared, f)
	}
	return compared
}

// add takes in the trial of a run's milestone.
func (f *finding) add(member *member, milestone int) {
	if milestone >= len(member.answers) {
		f.state = openStates[member.run.State]
		return
	}
	trial := member.answers[milestone]
	if f.answered == 0 || trial.Index < f.index {
		f.index = trial.Index
	}
	f.answered++
	if trial.Objective == nil {
		f.objective = math.NaN()
		return
	}
	f.objective += *trial.Objective
}

// valuesOf returns the findings' distinct values on each axis, ascending.
func (s *survey) valuesOf(findings []finding) [][]float64 {
	values := make([][]float64, len(s.axes))
	for i, axis := range s.axes {
		distinct, last := map[float64]struct{}{}, math.NaN()
		for k := range findings {
			// Most neighbors differ on one axis alone.
			if value := axis.value(&findings[k].gridPoint); value != last {
				distinct[value], last = struct{}{}, value
			}
		}
		values[i] = slices.Sorted(maps.Keys(distinct))
	}
	return values
}
