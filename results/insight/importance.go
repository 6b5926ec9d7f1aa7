package insight

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/importance"
	"trellis/results/objective"
)

// Importance returns how much each axis of a study's grid matters, and what its values do: see package importance.
//
// The objective of a configuration is the mean over its seeds with results. The variance of its logarithm is divided
// among the axes, unless an objective is not above 0, or it is maximized: then that of the objective itself is. Losses differ by factors, so without the logarithm only the worst
// would count: in the paper's search, a few runs with much weight decay collapse to a loss of more than six times the
// best. They would make the weight decay seem more important than the latent dimension, which changes the loss of all
// other runs. The means by value are means of the objective itself.
//
// If more than 32,768 trials of one seed have results, it is that of a sample of at most 4,096 of these, and of the best.
//
// It fails with ErrNotFound if there is no such study, and with ErrInconclusive unless at least two configurations have
// finite objectives.
func Importance(
	snapshot *results.Snapshot, request *trellisv1.GetImportanceRequest,
) (*trellisv1.GetImportanceResponse, error) {
	survey, err := newSurvey(snapshot, request.GetStudy())
	if err == nil {
		err = survey.check()
	}
	var found *trellisv1.Importance
	if err == nil {
		found, err = survey.importance(snapshot.Err)
	}
	if err != nil {
		return nil, fmt.Errorf("importance in study %s: %w", request.GetStudy(), err)
	}
	if request.GetWithoutValues() {
		for _, axis := range found.GetAxes() {
			axis.Values = nil
		}
	}
	return &trellisv1.GetImportanceResponse{Importance: found}, nil
}

// check returns an error that says what is missing for a comparison.
func (s *survey) check() error {
	several := 0
	for _, values := range s.tried {
		several += min(len(values)-1, 1)
	}
	switch {
	case several == 0:
		return fmt.Errorf(
			"every axis has a single value, so nothing can be compared; extend an axis: %w",
			results.ErrInconclusive,
		)
	case len(s.findings) < 2:
		return fmt.Errorf("%d of %d configurations have a finite objective, but a comparison needs 2: %w",
			len(s.findings), uint64(len(s.findings))+s.leftOutTotal(), results.ErrInconclusive)
	}
	return nil
}

// importance divides the findings' variance, unless interrupted returns an error.
func (s *survey) importance(interrupted func() error) (*trellisv1.Importance, error) {
	values, logarithms := s.objectives()
	var present []int
	var levels [][]uint32
	for i, compared := range s.compared {
		if len(compared) > 1 {
			present, levels = append(present, i), append(levels, s.levels(i))
		}
	}
	shares, err := importance.Analyze(levels, values, interrupted)
	if err != nil {
		return nil, err
	}
	s.leavePairs(&shares, present)
	message := &trellisv1.Importance{
		Rest: shares.Rest, Configurations: uint64(len(s.findings)), LeftOut: s.leftOutTotal(), Reasons: s.leftOut(),
		Exact: shares.Exact, Logarithmic: logarithms, Seeds: s.seeds, DivergedAt: s.divergedAt(),
		Objective: s.objective, SampledFrom: s.sampledFrom,
	}
	for i, tried := range s.tried {
		if len(tried) > 1 && len(s.compared[i]) == 1 {
			message.UnansweredAxes = append(message.UnansweredAxes, s.axes.names[i])
		}
	}
	for n, i := range present {
		message.Axes = append(message.Axes, &trellisv1.AxisEffect{
			Axis: s.axes.names[i], Importance: shares.Main[n], Total: shares.Total[n],
			Values: s.valueEffects(i, levels[n]),
		})
	}
	for _, pair := range shares.Pairs {
		message.Interactions = append(message.Interactions, &trellisv1.Interaction{
			First: s.axes.names[present[pair.First]], Second: s.axes.names[present[pair.Second]], Importance: pair.Share,
		})
	}
	slices.SortStableFunc(
		message.Axes,
		func(a, b *trellisv1.AxisEffect) int { return cmp.Compare(b.Importance, a.Importance) },
	)
	slices.SortStableFunc(message.Interactions, func(a, b *trellisv1.Interaction) int {
		return cmp.Compare(b.Importance, a.Importance)
	})
	return message, nil
}

// objectives returns the value to explain of each finding: the loss's logarithm if all losses have one, otherwise the
// loss. Of an objective that is maximized, the losses are the negatives, so that only negative ones have a logarithm.
func (s *survey) objectives() (values []float64, logarithms bool) {
	logarithms = true
	values = make([]float64, len(s.findings))
	for k := range s.findings {
		values[k] = s.findings[k].loss
		logarithms = logarithms && values[k] > 0
	}
	if logarithms {
		for k := range values {
			values[k] = math.Log(values[k])
		}
	}
	return values, logarithms
}

// levels returns the position of each finding's value among the values of an axis.
func (s *survey) levels(axis int) []uint32 {
	places := make([]uint32, len(s.axes.values[axis]))
	for place, level := range s.compared[axis] {
		places[level] = uint32(place)
	}
	levels := make([]uint32, len(s.findings))
	for k := range s.findings {
		levels[k] = places[s.findings[k].levelAt(axis)]
	}
	return levels
}

// valueEffects returns the effects of the values of an axis.
func (s *survey) valueEffects(axis int, levels []uint32) []*trellisv1.ValueEffect {
	effects := make([]*trellisv1.ValueEffect, len(s.compared[axis]))
	best := make([]*finding, len(effects))
	for place, level := range s.compared[axis] {
		effects[place] = &trellisv1.ValueEffect{Value: s.axes.values[axis][level]}
	}
	for k, place := range levels {
		found := &s.findings[k]
		effects[place].Mean += objective.Loss(s.objective, found.loss)
		effects[place].Configurations++
		if best[place] == nil || compareFindings(found, best[place]) < 0 {
			best[place] = found
		}
	}
	for place, effect := range effects {
		effect.Mean /= float64(effect.Configurations)
		effect.Best = objective.Loss(s.objective, best[place].loss)
		effect.BestAt = s.axes.parameters(best[place].point)
	}
	return effects
}
