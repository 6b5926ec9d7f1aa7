package pruning

import (
	"cmp"
	"slices"
)

// Standing is a run's result at a rung: lower is better, and +Inf is last. Of tied runs, the one that comes first in
// the grid ranks first.
type Standing struct {
	Result     float64
	FirstTrial uint64
	// Run is the run's id.
	Run string
}

// Compare returns a negative number if s ranks before other, and a positive one if it ranks after it.
func (s Standing) Compare(other Standing) int {
	return cmp.Or(cmp.Compare(s.Result, other.Result), cmp.Compare(s.FirstTrial, other.FirstTrial))
}

// Standings has the results at a rung, best first. It is never changed: adding a result returns new standings, which
// share most of their nodes with the old ones. Nil has no results.
//
// It is a counting binary search tree. A part that has become unbalanced is rebuilt (I. Galperin, R. Rivest, Scapegoat
// Trees, SODA 1993), so each call takes amortized logarithmic time.
type Standings struct {
	Standing
	count         int
	better, worse *Standings
}

// NewStandings returns standings of results that are already in order.
func NewStandings(ordered []Standing) *Standings {
	if len(ordered) == 0 {
		return nil
	}
	middle := len(ordered) / 2
	return &Standings{ordered[middle], len(ordered), NewStandings(ordered[:middle]), NewStandings(ordered[middle+1:])}
}

// Size returns the number of results.
func (s *Standings) Size() int {
	if s == nil {
		return 0
	}
	return s.count
}

// At returns the result at a place, counted from 0.
func (s *Standings) At(place int) Standing {
	for {
		switch better := s.better.Size(); {
		case place < better:
			s = s.better
		case place > better:
			s, place = s.worse, place-better-1
		default:
			return s.Standing
		}
	}
}

// Place returns how many results are better.
func (s *Standings) Place(of Standing) int {
	place := 0
	for s != nil {
		if s.Compare(of) < 0 {
			place += s.better.Size() + 1
			s = s.worse
		} else {
			s = s.better
		}
	}
	return place
}

// With returns standings with the result added.
func (s *Standings) With(added Standing) *Standings {
	if s == nil {
		return &Standings{Standing: added, count: 1}
	}
	grown := &Standings{s.Standing, s.count + 1, s.better, s.worse}
	if s.Compare(added) < 0 {
		grown.worse = s.worse.With(added)
	} else {
		grown.better = s.better.With(added)
	}
	// Neither side may have more than 3/4 of all.
	if 4*max(grown.better.Size(), grown.worse.Size()) > 3*grown.count+4 {
		return NewStandings(slices.AppendSeq(make([]Standing, 0, grown.count), grown.All))
	}
	return grown
}

// All yields the results in order.
func (s *Standings) All(yield func(Standing) bool) { s.walk(yield) }

func (s *Standings) walk(yield func(Standing) bool) bool {
	return s == nil || s.better.walk(yield) && yield(s.Standing) && s.worse.walk(yield)
}
