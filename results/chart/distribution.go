package chart

import (
	"fmt"
	"math"
	"slices"
	"sort"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/listing"
)

const defaultBins = 50

// Distribution returns how a study's objectives are distributed: see trellisv1.GetDistributionRequest. It fails with
// results.ErrNotFound if there is no such study, and with listing.ErrInvalid if the request is not valid.
func Distribution(
	snapshot *results.Snapshot, request *trellisv1.GetDistributionRequest,
) (*trellisv1.GetDistributionResponse, error) {
	s, err := newSource(snapshot, request.GetStudy())
	if err != nil {
		return nil, err
	}
	f, err := s.newFilter(request.GetFilter())
	if err != nil {
		return nil, err
	}
	values, basis, err := s.finite(f)
	if err != nil {
		return nil, err
	}
	response := &trellisv1.GetDistributionResponse{
		Basis: basis, Finite: uint64(values.n), Diverged: basis.GetMet() - uint64(values.n),
	}
	bins := orDefault(request.GetBins(), defaultBins)
	if response.Edges, err = edgesOf(values, request, bins); err != nil || values.n == 0 {
		return response, err
	}
	for i := range 5 {
		response.Quartiles = append(response.Quartiles, values.at(i*(values.n-1)/4))
	}
	if len(response.Edges) == 0 {
		response.Below = uint64(values.n)
		return response, nil
	}
	response.Counts = make([]uint64, bins)
	response.Below = uint64(values.below(response.Edges[0]))
	before := response.Below
	for i := range bins {
		until := uint64(values.below(response.Edges[i+1]))
		if i == bins-1 {
			until = uint64(values.upTo(response.Edges[bins]))
		}
		response.Counts[i] = until - before
		before = until
	}
	response.Above = uint64(values.n) - before
	return response, nil
}

// ascending are finite numbers that can be looked at in order.
type ascending struct {
	n  int
	at func(i int) float64
}

// below returns how many are below a number, and upTo how many are not above it.
func (a ascending) below(x float64) int {
	return sort.Search(a.n, func(i int) bool { return a.at(i) >= x })
}

func (a ascending) upTo(x float64) int {
	return sort.Search(a.n, func(i int) bool { return a.at(i) > x })
}

// finite are the finite objectives of the trials that meet a filter. Ranks are in the order of the objectives, so
// without a filter none has to be collected.
func (s *source) finite(f *filter) (ascending, *trellisv1.Basis, error) {
	if f.empty {
		n := s.ranks.finite
		return ascending{n, func(i int) float64 {
			if s.ranking.Maximize {
				i = n - 1 - i
			}
			return s.ranking.ObjectiveOf(s.ranks.at(i))
		}}, s.basis(s.ranks.total, s.ranks.total), nil
	}
	var values []float64
	basis, err := s.ranked(f, s.mostRanked(f, false), func(rank int, k listing.Key) error {
		if value, finite := s.objective(rank, k); finite {
			values = append(values, value)
		}
		return nil
	})
	if s.ranking.Maximize {
		slices.Reverse(values)
	}
	return ascending{len(values), func(i int) float64 { return values[i] }}, basis, err
}

// edgesOf returns where bins begin and the last one ends. There are none without values.
func edgesOf(values ascending, request *trellisv1.GetDistributionRequest, bins int) ([]float64, error) {
	logarithmic := request.GetScale() == trellisv1.Scale_SCALE_LOGARITHMIC
	if logarithmic && request.From != nil && request.GetFrom() <= 0 {
		return nil, fmt.Errorf("from: must be above 0 on a logarithmic scale: %w", listing.ErrInvalid)
	}
	if logarithmic && request.To != nil && request.GetTo() <= 0 {
		return nil, fmt.Errorf("to: must be above 0 on a logarithmic scale: %w", listing.ErrInvalid)
	}
	first := 0
	if logarithmic {
		first = values.upTo(0)
	}
	if first == values.n {
		return nil, nil
	}
	from, to := values.at(first), values.at(values.n-1)
	if request.From != nil {
		from = request.GetFrom()
	}
	if request.To != nil {
		to = request.GetTo()
	}
	switch {
	case to > from:
	case request.To != nil:
		from = below(to, logarithmic)
	default:
		// All values are the same, or all are below what was asked for.
		to = above(from, logarithmic)
	}
	edges := make([]float64, bins+1)
	for i := range edges {
		share := float64(i) / float64(bins)
		if logarithmic {
			edges[i] = math.Exp(math.Log(from)*(1-share) + math.Log(to)*share)
		} else {
			edges[i] = from*(1-share) + to*share
		}
	}
	edges[0], edges[bins] = from, to
	slices.Sort(edges) // What is rounded may be beyond the last.
	return edges, nil
}

// above returns a larger number, and below a smaller one.
func above(x float64, logarithmic bool) float64 {
	if logarithmic {
		return min(x*2, math.MaxFloat64)
	}
	return min(x+math.Max(math.Abs(x), 1), math.MaxFloat64)
}

func below(x float64, logarithmic bool) float64 {
	if logarithmic {
		return max(x/2, math.SmallestNonzeroFloat64)
	}
	return -above(-x, false)
}
