package chart

import (
	"trellis/results"
	"trellis/results/catalog"
	"trellis/results/listing"

	trellisv1 "trellis/proto/trellis/v1"
)

// maxLooked is how many trials are looked at whose parameters don't follow from their indexes, or that have to be
// compared with a filter one by one. Of more, an even sample is.
const maxLooked = 1 << 15

// source is the study that an answer is about, as of one moment.
type source struct {
	snapshot *results.Snapshot
	study    *trellisv1.Study
	catalog  *catalog.Catalog
	ranking  listing.Ranking
	ranks    *ranks
	axes     *axes
}

// newSource fails with results.ErrNotFound if there is no such study.
func newSource(snapshot *results.Snapshot, name string) (*source, error) {
	study, err := snapshot.Study(nil, name)
	if err != nil {
		return nil, err
	}
	s := &source{snapshot: snapshot, study: study, ranking: listing.RankingOf(study.GetSpec())}
	if s.catalog, err = snapshot.Catalog(name); err != nil {
		return nil, err
	}
	if s.ranks, err = newRanks(snapshot, name); err != nil {
		return nil, err
	}
	s.axes, err = newAxes(snapshot, study, s.catalog)
	return s, err
}

// basis is what an answer was made from.
func (s *source) basis(read, total int) *trellisv1.Basis {
	return &trellisv1.Basis{
		ModifyIndex: s.study.ModifyIndex, Read: uint64(read), Total: uint64(total), Met: uint64(read), Exact: read == total,
	}
}

// mostRanked is how many of the trials with results are looked at. points says that the answer depends on their
// parameters.
func (s *source) mostRanked(f *filter, points bool) int {
	points = points || !f.empty
	switch most := s.ranks.total; {
	case !f.ofPoint:
		return min(most, maxFiltered)
	case points && (f.remembered == nil || len(s.catalog.Listed()) > maxLooked || s.axes.products == nil):
		return min(most, maxLooked)
	default:
		return most
	}
}

// ranked calls take for the trials with results that meet the filter, best first, with their ranks from 0 and their
// keys: for all, or for an even sample of so many.
func (s *source) ranked(f *filter, most int, take func(rank int, k listing.Key) error) (*trellisv1.Basis, error) {
	basis := s.basis(most, s.ranks.total)
	basis.Met = 0
	visit := func(rank int, k listing.Key) error {
		if rank%1024 == 0 && s.snapshot.Err() != nil {
			return s.snapshot.Err()
		}
		met, err := f.has(k.Index())
		if err != nil || !met {
			return err
		}
		basis.Met++
		return take(rank, k)
	}
	if most < s.ranks.total {
		for _, rank := range even(0, s.ranks.total, most) {
			if err := visit(rank, s.ranks.at(rank)); err != nil {
				return nil, err
			}
		}
		return basis, nil
	}
	for i, page := range s.ranks.pages {
		for j, k := range page {
			if err := visit(s.ranks.from[i]+j, k); err != nil {
				return nil, err
			}
		}
	}
	return basis, nil
}

// objective returns that of a key, and whether it is a finite number.
func (s *source) objective(rank int, k listing.Key) (float64, bool) {
	if rank >= s.ranks.finite {
		return 0, false
	}
	return s.ranking.ObjectiveOf(k), true
}
