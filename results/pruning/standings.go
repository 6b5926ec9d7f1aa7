package pruning

import (
	"cmp"
	"slices"
)

// Standing is a run's result at a rung: lower is better, +Inf is last. Ties go to the run that stands first in the
// grid.
type Standing struct {
	Result     float64
	FirstTrial uint64
	// Run is the run's id.
	Run string
}

// Compare is negative if s ranks before other.
func (s Standing) Compare(other Standing) int {
	return cmp.Or(cmp.Compare(s.Result, other.Result), cmp.Compare(s.FirstTrial, other.FirstTrial))
}

// Standings are the results at a rung, best first. They are never changed: what is added makes new ones, which share
// most of what they consist of. Nil is none.
//
// They are a binary search tree that counts. Where it has grown out of balance, that part of it is built anew (I.
// Galperin, R. Rivest, Scapegoat Trees, SODA 1993), so that each call takes a time that grows as the logarithm of their
// number, taken over many.
type Standings struct {
	Standing
	count         int
	better, worse *Standings
}

// NewStandings makes standings of all results at once, which are in order.
func NewStandings(ordered []Standing) *Standings {
	if len(ordered) == 0 {
		return nil
	}
	middle := len(ordered) / 2
	return &Standings{ordered[middle], len(ordered), NewStandings(ordered[:middle]), NewStandings(ordered[middle+1:])}
}

// Size is how many results there are.
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

// Place is how many results are better.
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

// With adds a result.
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
