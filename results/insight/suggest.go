package insight

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
)

const (
	// negligible is the total importance below which an axis is not searched any further.
	negligible = 0.01
	// maxNameLength is what a spec's rules allow.
	maxNameLength = 63
)

// SuggestStudy returns the spec of a study that goes on from what this one has found, and says why, axis by axis. Its grid
// is zoomed round the best configuration, and widened where that lies on an edge. The best configuration is a point of the
// new grid too, so that its runs are shared. There are no more runs than in the old study, nor more trials: what the old
// one cost is what its user was ready to pay. All else is as in the old spec.
//
// models say between which bounds the axes lie that only the study's model has. Those of a model that is not among them keep to
// what was tried.
//
// It fails as GetImportance does, and with ErrInconclusive if nothing new would be tried.
func SuggestStudy(
	snapshot *results.Snapshot, request *trellisv1.SuggestStudyRequest, models grid.Models,
) (*trellisv1.SuggestStudyResponse, error) {
	response, err := suggestStudy(snapshot, request.GetStudy(), models)
	if err != nil {
		return nil, fmt.Errorf("suggest what follows study %s: %w", request.GetStudy(), err)
	}
	return response, nil
}

func suggestStudy(
	snapshot *results.Snapshot, name string, models grid.Models,
) (*trellisv1.SuggestStudyResponse, error) {
	survey, err := newSurvey(snapshot, name)
	if err == nil {
		err = survey.check()
	}
	if err != nil {
		return nil, err
	}
	best := survey.best()
	trials, err := trialsAt(snapshot, name, survey.own, best.point)
	if err != nil {
		return nil, err
	}
	axes := survey.searchAxes(best, models)
	points := 1
	var values [][]float64
	var reasons []string
	for _, axis := range axes {
		chosen, reason := axis.suggest()
		points *= len(chosen)
		values, reasons = append(values, chosen), append(reasons, reason)
	}
	epochs, reason := survey.suggestEpochs(trials, points)
	reasons = append(reasons, reason)
	reasons = append(reasons, survey.reasonsToDoubt()...)
	if points == 1 && !slices.ContainsFunc(epochs, survey.untried) {
		return nil, fmt.Errorf("nothing is left to try round the best configuration: %s: %w",
			strings.Join(reasons, "; "), results.ErrInconclusive)
	}
	spec := proto.CloneOf(survey.study.GetSpec())
	if spec.Name, err = nextName(snapshot, name); err != nil {
		return nil, err
	}
	spec.Grid = []*trellisv1.Grid{{
		LatentDim:    &trellisv1.IntegerAxis{Values: integers(values[0])},
		LearningRate: &trellisv1.NumberAxis{Values: values[1]},
		WeightDecay:  &trellisv1.NumberAxis{Values: values[2]},
		MaxEpochs:    &trellisv1.IntegerAxis{Values: integers(epochs)},
	}}
	for i, name := range survey.own {
		if i == 0 {
			spec.Grid[0].Axes = make(map[string]*trellisv1.NumberAxis, len(survey.own))
		}
		spec.Grid[0].Axes[name] = &trellisv1.NumberAxis{Values: values[len(searched)+i]}
	}
	return &trellisv1.SuggestStudyResponse{Spec: spec, Reasons: reasons}, nil
}

// reasonsToDoubt say what of the grid had no part in a suggestion and might have changed it.
func (s *survey) reasonsToDoubt() []string {
	pruned := s.unanswered[trellisv1.TrialState_TRIAL_STATE_PRUNED]
	if pruned == 0 {
		return nil
	}
	what := "1 trial had no part in this: a heuristic pruned it, and it may be the best"
	if pruned > 1 {
		what = fmt.Sprintf("%d trials had no part in this: a heuristic pruned them, and the best may be among them", pruned)
	}
	return []string{what}
}

func integers(values []float64) []uint32 {
	whole := make([]uint32, len(values))
	for i, value := range values {
		whole[i] = uint32(value)
	}
	return whole
}

// searchAxes are those of searched and those that only the study's model has. Each has as many values as it had, 1 if it does not
// matter, and fewer of the longest where the study would have more runs than before. That may happen if it was a union of grids.
func (s *survey) searchAxes(best *finding, models grid.Models) []*searchAxis {
	totals := map[string]float64{}
	for _, effect := range s.importance().GetAxes() {
		totals[effect.GetAxis()] = effect.GetTotal()
	}
	places := slices.Clone(searched)
	for i := range s.own {
		places = append(places, len(commonAxes)+i)
	}
	axes := make([]*searchAxis, len(places))
	for i, at := range places {
		bounds, tried := s.boundsOf(at, models), s.tried[at]
		axis := &searchAxis{
			ModelAxis: bounds, tried: tried, compared: len(s.compared[at]), best: s.axes[at].value(&best.point),
			total:       totals[bounds.GetName()],
			logarithmic: isLogarithmic(s.study.GetSpec(), bounds.GetName(), tried), count: 1,
		}
		if axis.total >= negligible {
			axis.count = min(len(axis.tried), grid.MaxAxisValues)
		}
		axes[i] = axis
	}
	most := max(1, s.study.GetProgress().GetRuns()/grid.Repetitions(s.study.GetSpec()))
	for {
		points, longest := uint64(1), axes[0]
		for _, axis := range axes {
			points *= uint64(axis.count)
			if axis.count > longest.count || axis.count == longest.count && axis.total < longest.total {
				longest = axis
			}
		}
		if points <= most {
			return axes
		}
		longest.count--
	}
}

// trialsAt returns the answered trials of a point of the grid of a study with these axes of its own, one for each seed.
func trialsAt(snapshot *results.Snapshot, study string, own []string, at point) (trials []*trellisv1.Trial, err error) {
	runs, err := snapshot.Served(study)
	if err != nil {
		return nil, err
	}
	for its := range runs {
		p := its.Run.Parameters
		if newPoint(p, at.maxEpochs, ownValuesOf(p, own)) != at {
			continue
		}
		for _, trial := range its.Answers {
			if trial.Parameters.MaxEpochs == at.maxEpochs {
				trials = append(trials, trial)
			}
		}
	}
	return trials, nil
}

// nextName returns the first free one of the names that follow: paper, paper-2, paper-3.
func nextName(snapshot *results.Snapshot, name string) (string, error) {
	base, number := name, 1
	if at := strings.LastIndexByte(name, '-'); at > 0 {
		last, err := strconv.Atoi(name[at+1:])
		if err == nil && last > 0 && last < 1000 && strconv.Itoa(last) == name[at+1:] {
			base, number = name[:at], last
		}
	}
	for {
		number++
		suffix := "-" + strconv.Itoa(number)
		next := strings.TrimRight(base[:min(len(base), maxNameLength-len(suffix))], "-") + suffix
		if _, err := snapshot.Study(nil, next); errors.Is(err, results.ErrNotFound) {
			return next, nil
		} else if err != nil {
			return "", err
		}
	}
}
