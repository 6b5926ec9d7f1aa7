package results

import (
	"fmt"

	"github.com/hashicorp/go-memdb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/listing"
)

// A trial's row is made when it is answered. Before, and if it never is, the trial is what its run says: see
// Snapshot.trialAt. So a report writes no trial but the one that it answers, however many the run serves.

// trialAt returns the trial of a number.
func (s *Snapshot) trialAt(c *catalog, number uint32) (*trellisv1.Trial, error) {
	place, milestone := c.runOf(number)
	member, err := s.memberAt(nil, c.study, place)
	if err != nil {
		return nil, err
	}
	return member.Trial(milestone, c.indexes[number]), nil
}

// catalog returns a study's catalog, or ErrNotFound.
func (s *Snapshot) catalog(study string) (*catalog, error) {
	c, err := first[*catalog](s.reader, nil, tableCatalogs, indexID, textKey(study))
	if err == nil && c == nil {
		err = fmt.Errorf("study %s: %w", study, ErrNotFound)
	}
	return c, err
}

// Trial returns a trial, or ErrNotFound.
func (s *Snapshot) Trial(study string, index uint64) (*trellisv1.Trial, error) {
	trial, err := s.trial(study, index)
	if err != nil {
		return nil, fmt.Errorf("trial %d of study %s: %w", index, study, err)
	}
	return trial, nil
}

func (s *Snapshot) trial(study string, index uint64) (*trellisv1.Trial, error) {
	c, err := s.catalog(study)
	if err != nil {
		return nil, err
	}
	at := c.from(index)
	if at == len(c.byIndex) || c.indexes[c.byIndex[at]] != index {
		return nil, ErrNotFound
	}
	return s.trialAt(c, c.byIndex[at])
}

// Best returns the trial that ranks first among those that have been answered: see Compare. ErrNoAnswer if there is none,
// ErrNotFound if there is no such study.
func (s *Snapshot) Best(ws memdb.WatchSet, study string) (*trellisv1.Trial, error) {
	if _, err := s.Study(ws, study); err != nil {
		return nil, err
	}
	ranked, err := s.ranked(ws, study, listing.Key{})
	if err != nil {
		return nil, err
	}
	for trial := range ranked {
		return trial, nil
	}
	return nil, fmt.Errorf("best trial of study %s: %w", study, ErrNoAnswer)
}
