package insight

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
)

const (
	// negligible is the total importance below which an axis is no longer searched.
	negligible = 0.01
	// maxNameLength is the maximum length of a name by a spec's rules.
	maxNameLength = 63
)

// SuggestStudy returns the spec of a next study, based on what this one has found, and the reasons for each axis. The
// new grid zooms in around the best configuration, and is wider where that is on an edge. It also contains the best
// configuration, so that its runs are shared. It has no more runs and no more trials than the old study, because the
// user was willing to pay for those. Everything else is as in the old spec.
//
// models has the bounds of the axes that only the study's model has. If the model is not among them, these axes stay
// within the values that were tried. sizer says which networks fit the study's images: others are not suggested.
//
// The spec is nil if it would try nothing new. SuggestStudy fails when Importance fails, and ends early with ctx.
func SuggestStudy(
	ctx context.Context, snapshot *results.Snapshot, request *trellisv1.SuggestStudyRequest, models grid.Models,
	sizer grid.Sizer,
) (*trellisv1.SuggestStudyResponse, error) {
	response, err := suggestStudy(ctx, snapshot.Within(ctx), request.GetStudy(), models, sizer)
	if err != nil {
		return nil, fmt.Errorf("suggest a next study after %q: %w", request.GetStudy(), err)
	}
	return response, nil
}

func suggestStudy(
	ctx context.Context, snapshot *results.Snapshot, name string, models grid.Models, sizer grid.Sizer,
) (*trellisv1.SuggestStudyResponse, error) {
	survey, err := newSurvey(snapshot, name)
	if err == nil {
		err = survey.check()
	}
	if err != nil {
		return nil, err
	}
	best := survey.best()
	trials, err := survey.trialsAt(snapshot, best)
	if err != nil {
		return nil, err
	}
	response := &trellisv1.SuggestStudyResponse{
		Pruned: survey.leftOut().GetPruned(), Objective: survey.objective,
	}
	points := 1
	found, err := survey.importance(snapshot.Err)
	if err != nil {
		return nil, err
	}
	for _, axis := range survey.searchAxes(best, found, models) {
		choice := axis.suggest()
		points *= max(1, len(choice.Values))
		response.Axes = append(response.Axes, choice)
	}
	response.Axes = append(response.Axes, survey.suggestEpochs(trials, points))
	if err := survey.settleEpochs(response.Axes); err != nil {
		return nil, err
	}
	if err := survey.keepFitting(ctx, response.Axes, models, sizer); err != nil {
		return nil, err
	}
	if err := survey.keepMet(response.Axes); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(response.Axes, survey.isNew) {
		response.Spec = survey.specOf(response.Axes)
		if response.Spec.Name, err = nextName(snapshot, name); err != nil {
			return nil, err
		}
	}
	return response, nil
}

// isNew says whether a choice makes points that the study may not have: other values than the best, or more epochs.
func (s *survey) isNew(choice *trellisv1.AxisChoice) bool {
	if choice.GetAxis() == grid.MaxEpochs {
		return slices.ContainsFunc(choice.GetValues(), s.untried)
	}
	return len(choice.GetValues()) > 1
}

// settleEpochs leaves max_epochs as the best has it if the study's condition leaves out all longer ones.
func (s *survey) settleEpochs(choices []*trellisv1.AxisChoice) error {
	if s.study.GetSpec().GetWhere() == "" {
		return nil
	}
	met, err := s.met(choices)
	if err != nil {
		return err
	}
	if epochs := choices[len(choices)-1]; len(met[len(choices)-1]) == 0 {
		// Nothing may train for longer, not even the best.
		epochs.Values, epochs.Reason = []*trellisv1.Value{epochs.GetBest()}, trellisv1.AxisChoice_REASON_LEFT_OUT
	}
	return nil
}

// keepMet takes values out of the choices, of which the last is that of max_epochs, that the study's condition leaves
// out whatever the other axes have.
func (s *survey) keepMet(choices []*trellisv1.AxisChoice) error {
	if s.study.GetSpec().GetWhere() == "" {
		return nil
	}
	// What does not fit may have been all that could train for longer.
	if err := s.settleEpochs(choices); err != nil {
		return err
	}
	met, err := s.met(choices)
	if err != nil {
		return err
	}
	for i, choice := range choices {
		kept := slices.DeleteFunc(slices.Clone(choice.GetValues()), func(value *trellisv1.Value) bool {
			return !met[i][grid.KeyOf(value)]
		})
		fewer := len(kept) < len(choice.GetValues())
		if choice.Values = kept; fewer && !s.isNew(choice) {
			choice.Reason = trellisv1.AxisChoice_REASON_LEFT_OUT
		}
	}
	return nil
}

// keepFitting takes values out of the choices so that all networks fit the study's images, as they must to be
// submitted. The best configuration's do. Values of the axes that explain most come first. What is left fits whatever
// the condition leaves out: to evaluate it for each value would take too long.
func (s *survey) keepFitting(
	ctx context.Context, choices []*trellisv1.AxisChoice, models grid.Models, sizer grid.Sizer,
) error {
	fit := func(where string) (bool, error) {
		spec := s.specOf(choices)
		spec.Where = where
		_, _, err := models.Sizes(ctx, sizer, spec, s.study.GetDataSet())
		if _, refused := errors.AsType[*protovalidate.ValidationError](err); refused {
			return false, nil
		}
		return err == nil, err
	}
	if all, err := fit(s.study.GetSpec().GetWhere()); all || err != nil {
		return err
	}
	model := models.Find(s.study.GetSpec().GetModel())
	var shaping []*trellisv1.AxisChoice
	wanted := map[*trellisv1.AxisChoice][]*trellisv1.Value{}
	for _, choice := range choices {
		axis := grid.Axis(model, choice.GetAxis())
		if axis.GetSizes() && !axis.GetSameLayers() && len(choice.GetValues()) > 1 {
			shaping = append(shaping, choice)
			wanted[choice], choice.Values = choice.GetValues(), []*trellisv1.Value{choice.GetBest()}
		}
	}
	slices.SortStableFunc(shaping, func(a, b *trellisv1.AxisChoice) int {
		return cmp.Compare(b.GetTotal(), a.GetTotal())
	})
	for _, choice := range shaping {
		if err := keepSome(choice, wanted[choice], grid.Axis(model, choice.GetAxis()).GetGrows(), fit); err != nil {
			return err
		}
	}
	return nil
}

// keepSome gives a choice those of the values with which all networks fit. If layers grow with the axis, these are all
// up to one of them, which few looks find.
func keepSome(
	choice *trellisv1.AxisChoice, wanted []*trellisv1.Value, grows bool, fit func(where string) (bool, error),
) error {
	var others []*trellisv1.Value
	for _, value := range wanted {
		if grid.KeyOf(value) != grid.KeyOf(choice.GetBest()) {
			others = append(others, value)
		}
	}
	slices.SortStableFunc(others, grid.Compare)
	stay := map[grid.ValueKey]bool{grid.KeyOf(choice.GetBest()): true}
	// fits adds values if they fit.
	fits := func(values []*trellisv1.Value) (bool, error) {
		before := choice.Values
		for _, value := range values {
			stay[grid.KeyOf(value)] = true
		}
		choice.Values = slices.DeleteFunc(slices.Clone(wanted), func(value *trellisv1.Value) bool {
			return !stay[grid.KeyOf(value)]
		})
		ok, err := fit("")
		if !ok {
			choice.Values = before
			for _, value := range values {
				delete(stay, grid.KeyOf(value))
			}
		}
		return ok, err
	}
	for len(others) > 0 {
		next := 1
		if grows {
			next = (len(others) + 1) / 2
		}
		ok, err := fits(others[:next])
		switch {
		case err != nil:
			return err
		case ok:
			others = others[next:]
		case grows && next > 1:
			choice.Unfit = append(slices.Clone(others[next-1:]), choice.Unfit...)
			others = others[:next-1]
		case grows:
			choice.Unfit = append(slices.Clone(others), choice.Unfit...)
			others = nil
		default:
			choice.Unfit, others = append(choice.Unfit, others[0]), others[1:]
		}
	}
	if len(choice.Values) == 1 {
		choice.Reason = trellisv1.AxisChoice_REASON_UNFIT
	}
	return nil
}

// met returns, for each choice, those of its values that a point of a grid of them has that meets the condition.
func (s *survey) met(choices []*trellisv1.AxisChoice) ([]map[grid.ValueKey]bool, error) {
	points, err := grid.New(s.specOf(choices))
	if err != nil {
		return nil, fmt.Errorf("compute the condition: %w", err)
	}
	met := make([]map[grid.ValueKey]bool, len(choices))
	for i := range met {
		met[i] = map[grid.ValueKey]bool{}
	}
	for _, point := range points.All() {
		for i, choice := range choices {
			met[i][grid.KeyOf(grid.Value(point, choice.GetAxis()))] = true
		}
	}
	return met, nil
}

// specOf is the study's spec with one grid of the axes that are searched, which are as in searchAxes, and of
// max_epochs.
func (s *survey) specOf(choices []*trellisv1.AxisChoice) *trellisv1.StudySpec {
	spec := proto.CloneOf(s.study.GetSpec())
	next := &trellisv1.Grid{Axes: map[string]*trellisv1.Axis{}}
	for _, choice := range choices {
		// Nothing but no value is what a point has whose grid does not have the axis.
		if fixed := spec.GetFixed()[choice.Axis]; len(choice.Values) > 0 &&
			(fixed == nil || len(choice.Values) > 1 || grid.KeyOf(fixed) != grid.KeyOf(choice.Values[0])) {
			next.Axes[choice.Axis] = trellisv1.ListOf(choice.Values...)
		}
	}
	spec.Grid = []*trellisv1.Grid{next}
	return spec
}

// searchAxes are those that are searched: see places. Each has as many values as it had, 1 if it does not matter, and
// fewer of the longest where the study would have more runs than before. That may happen if it was a union of grids.
func (s *survey) searchAxes(best *finding, found *trellisv1.Importance, models grid.Models) []*searchAxis {
	totals := map[string]float64{}
	for _, effect := range found.GetAxes() {
		totals[effect.GetAxis()] = effect.GetTotal()
	}
	places := s.places()
	axes := make([]*searchAxis, len(places))
	for i, at := range places {
		axis := &searchAxis{
			ModelAxis: s.boundsOf(at, models), compared: len(s.compared[at]), bestValue: s.axes.value(best.point, at),
			total: totals[s.axes.names[at]], count: 1,
		}
		if s.isOrdered(at) {
			axis.tried = s.numbers(at)
			axis.best, _ = axis.bestValue.Numeric()
			axis.logarithmic = isLogarithmic(s.study.GetSpec(), axis.GetName(), axis.tried)
		} else {
			axis.categories, axis.kept = s.tried[at], s.contending(at)
		}
		if axis.total >= negligible {
			axis.count = min(max(len(axis.tried), len(axis.kept)), grid.MaxAxisValues)
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

// trialsAt returns the answered trials of a point of the study's grid, one for each seed, by index.
func (s *survey) trialsAt(snapshot *results.Snapshot, at *finding) (trials []*trellisv1.Trial, err error) {
	if s.repeated != nil {
		return s.repeatedTrialsAt(snapshot, at)
	}
	if s.sampledFrom > 0 {
		trial, err := snapshot.Trial(s.study.GetName(), at.index)
		return []*trellisv1.Trial{trial}, err
	}
	runs, err := snapshot.Touched(s.study.GetName())
	if err != nil {
		return nil, err
	}
	for its := range runs {
		if s.axes.at(s.axes.points(its.Run.Parameters), at.maxEpochs) != at.point {
			continue
		}
		for _, trial := range its.Answers {
			if trial.Parameters.MaxEpochs == at.maxEpochs {
				trials = append(trials, trial)
			}
		}
	}
	// In whatever order the runs were trained.
	slices.SortFunc(trials, func(a, b *trellisv1.Trial) int { return cmp.Compare(a.Index, b.Index) })
	return trials, snapshot.Err()
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
