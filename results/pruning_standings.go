package results

import (
	"cmp"
	"slices"
)

// standing is a run's result at a rung: lower is better, +Inf is last. Ties go to the run that stands first in the grid.
type standing struct {
	result     float64
	firstTrial uint64
	run        string
}

func (s standing) compare(other standing) int {
	return cmp.Or(cmp.Compare(s.result, other.result), cmp.Compare(s.firstTrial, other.firstTrial))
}

// standings are the results at a rung, best first. They are never changed: what is added makes new ones, which share most of
// what they consist of. Nil is none.
//
// They are a binary search tree that counts. Where it has grown out of balance, that part of it is built anew (I. Galperin,
// R. Rivest, Scapegoat Trees, SODA 1993), so that each call takes a time that grows as the logarithm of their number, taken
// over many.
type standings struct {
	standing
	count         int
	better, worse *standings
}

// newStandings makes them of all results at once, which are in order.
func newStandings(ordered []standing) *standings {
	if len(ordered) == 0 {
		return nil
	}
	middle := len(ordered) / 2
	return &standings{ordered[middle], len(ordered), newStandings(ordered[:middle]), newStandings(ordered[middle+1:])}
}

// size is how many results there are.
func (s *standings) size() int {
	if s == nil {
		return 0
	}
	return s.count
}

// at returns the result at a place, counted from 0.
func (s *standings) at(place int) standing {
	for {
		switch better := s.better.size(); {
		case place < better:
			s = s.better
		case place > better:
			s, place = s.worse, place-better-1
		default:
			return s.standing
		}
	}
}

// place is how many results are better.
func (s *standings) place(of standing) int {
	place := 0
	for s != nil {
		if s.compare(of) < 0 {
			place += s.better.size() + 1
			s = s.worse
		} else {
			s = s.better
		}
	}
	return place
}

// with adds a result.
func (s *standings) with(added standing) *standings {
	if s == nil {
		return &standings{standing: added, count: 1}
	}
	grown := &standings{s.standing, s.count + 1, s.better, s.worse}
	if s.compare(added) < 0 {
		grown.worse = s.worse.with(added)
	} else {
		grown.better = s.better.with(added)
	}
	// Neither side may have more than 3/4 of all.
	if 4*max(grown.better.size(), grown.worse.size()) > 3*grown.count+4 {
		return newStandings(slices.AppendSeq(make([]standing, 0, grown.count), grown.all))
	}
	return grown
}

// all yields the results in order.
func (s *standings) all(yield func(standing) bool) { s.walk(yield) }

func (s *standings) walk(yield func(standing) bool) bool {
	return s == nil || s.better.walk(yield) && yield(s.standing) && s.worse.walk(yield)
}
