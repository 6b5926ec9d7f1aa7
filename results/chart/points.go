package chart

import (
	"fmt"
	"math"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/listing"
	"trellis/results/spelling"
)

const (
	defaultPoints = 2000
	defaultBest   = 100
	// maxRead is how many trials or runs an answer reads at most.
	maxRead = 10_000
)

// Points returns trials with results as points: see trellisv1.GetPointsRequest. It fails with results.ErrNotFound if
// there is no such study, and with listing.ErrInvalid if the request names what there is not.
func Points(snapshot *results.Snapshot, request *trellisv1.GetPointsRequest) (*trellisv1.GetPointsResponse, error) {
	s, err := newSource(snapshot, request.GetStudy())
	if err != nil {
		return nil, err
	}
	f, err := s.newFilter(request.GetFilter())
	if err != nil {
		return nil, err
	}
	fields, err := s.fieldsNamed(request.GetFields())
	if err != nil {
		return nil, err
	}
	most := orDefault(request.GetPoints(), defaultPoints)
	if len(fields) > 0 {
		most = min(most, maxRead)
	}
	best := min(most, defaultBest)
	if request.Best != nil {
		best = min(most, int(request.GetBest()))
	}
	found, basis, err := s.pick(f, best, most-best)
	if err != nil {
		return nil, err
	}
	response := &trellisv1.GetPointsResponse{Basis: basis}
	all := make([]int, len(s.axes.all))
	for at := range all {
		all[at] = at
	}
	levels, point := make([][]uint32, len(all)), make([]uint32, len(all))
	objectives, values := make([]float64, 0, len(found)), make([][]float64, len(fields))
	for _, its := range found {
		if err := s.axes.read(its.key.Index(), all, point); err != nil {
			return nil, err
		}
		for at, level := range point {
			levels[at] = append(levels[at], level)
		}
		objective, finite := s.objective(its.rank, its.key)
		if !finite {
			objective = math.NaN()
		}
		objectives = append(objectives, objective)
		response.Trials = append(response.Trials, its.key.Index())
		response.Ranks = append(response.Ranks, uint64(its.rank+1))
		if err := s.addValues(values, fields, its.key.Index()); err != nil {
			return nil, err
		}
	}
	for at, axis := range s.axes.all {
		response.Axes = append(response.Axes, axis.message(request.GetAxisValues()))
		response.Levels = append(response.Levels, uint32s(levels[at]))
	}
	response.Objectives = float64s(objectives)
	for _, column := range values {
		response.Fields = append(response.Fields, float64s(column))
	}
	return response, snapshot.Err()
}

func orDefault(asked uint32, otherwise int) int {
	if asked == 0 {
		return otherwise
	}
	return int(asked)
}

// ranked is a trial with its result.
type ranked struct {
	rank int
	key  listing.Key
}

// pick returns the best trials that meet a filter, and so many of the others, evenly over their ranks.
func (s *source) pick(f *filter, best, others int) ([]ranked, *trellisv1.Basis, error) {
	if f.empty {
		var found []ranked
		for _, rank := range s.ranks.pick(best, others) {
			found = append(found, ranked{rank, s.ranks.at(rank)})
		}
		basis := s.basis(s.ranks.total, s.ranks.total)
		basis.Exact = len(found) == s.ranks.total
		return found, basis, nil
	}
	var met []ranked
	basis, err := s.ranked(f, s.mostRanked(f, false), func(rank int, k listing.Key) error {
		met = append(met, ranked{rank, k})
		return nil
	})
	if err != nil || len(met) <= best+others {
		return met, basis, err
	}
	basis.Exact = false
	found := append([]ranked{}, met[:best]...)
	for _, at := range even(best, len(met), others) {
		found = append(found, met[at])
	}
	return found, basis, nil
}

// fieldsNamed returns what a request wants to know of each trial. It fails with listing.ErrInvalid.
func (s *source) fieldsNamed(names []string) ([]listing.Field, error) {
	if len(names) == 0 {
		return nil, nil
	}
	metrics, err := s.metricNames()
	if err != nil {
		return nil, err
	}
	available := listing.WithMetrics(metrics, listing.Fields)
	var known []string
	byName := map[string]listing.Field{}
	for _, field := range available {
		if field.Number(&trellisv1.Trial{}) != nil {
			byName[field.Name] = field
			known = append(known, field.Name)
		}
	}
	var fields []listing.Field
	for _, name := range names {
		field, ok := byName[name]
		if !ok {
			return nil, fmt.Errorf("fields: %s: %w", spelling.Unknown("field", name, known), listing.ErrInvalid)
		}
		fields = append(fields, field)
	}
	return fields, nil
}

// addValues appends the values of a trial's fields to columns.
func (s *source) addValues(columns [][]float64, fields []listing.Field, index uint64) error {
	if len(fields) == 0 {
		return nil
	}
	trial, err := s.snapshot.Trial(s.study.GetName(), index)
	if err != nil {
		return err
	}
	for i, field := range fields {
		columns[i] = append(columns[i], *field.Number(trial))
	}
	return nil
}
