package results

import (
	"bytes"
	"fmt"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
)

// ListTrials returns a page of a study's trials: see ListTrialsRequest. A page starts where the one before ended in the
// order asked for, whatever has happened in between; a trial whose place in the order changes meanwhile may be seen
// twice or not at all, no other. It fails with ErrNotFound if there is no such study, and with ErrInvalid if order,
// filter or token make no sense.
func (s *Snapshot) ListTrials(request *trellisv1.ListTrialsRequest) (*trellisv1.ListTrialsResponse, error) {
	response, err := s.listTrials(request)
	if err != nil {
		return nil, fmt.Errorf("list trials: %w", err)
	}
	return response, nil
}

func (s *Snapshot) listTrials(request *trellisv1.ListTrialsRequest) (*trellisv1.ListTrialsResponse, error) {
	study, err := s.Study(nil, request.GetStudy())
	if err != nil {
		return nil, err
	}
	sortKeyOf, err := trialOrder(request.GetOrderBy())
	if err != nil {
		return nil, err
	}
	matches, err := newFilter(request.GetFilter())
	if err != nil {
		return nil, err
	}
	mark := tokenTrials(request)
	after, err := decodeToken(mark, request.GetPageToken())
	if err != nil {
		return nil, err
	}
	trials, err := scan[*trellisv1.Trial](s.txn, nil, tableTrials, indexID, textKey(study.Name))
	if err != nil {
		return nil, err
	}
	response := &trellisv1.ListTrialsResponse{}
	page := newTopTrials(pageSize(request.GetPageSize()))
	for trial := range trials {
		if trial, err = s.present(trial); err != nil {
			return nil, err
		}
		match, err := matches(trial)
		if err != nil {
			return nil, err
		}
		if !match {
			continue
		}
		response.Total++
		if k := sortKeyOf(trial); bytes.Compare(k[:], after) > 0 {
			page.add(k, trial)
		}
	}
	var more bool
	response.Trials, more = page.trials()
	if more {
		last := sortKeyOf(response.Trials[len(response.Trials)-1])
		response.NextPageToken = encodeToken(mark, last[:])
	}
	if !request.GetLosses() {
		return response, nil
	}
	for i, trial := range response.Trials {
		if response.Trials[i], err = s.withLosses(trial); err != nil {
			return nil, err
		}
	}
	return response, nil
}

// topTrials keeps the first of the trials that are added, in the order of their keys.
type topTrials struct {
	size int
	kept []placedTrial
}

type placedTrial struct {
	key   sortKey
	trial *trellisv1.Trial
}

func newTopTrials(size int) *topTrials {
	return &topTrials{size: size, kept: make([]placedTrial, 0, 4*size)}
}

func (t *topTrials) add(k sortKey, trial *trellisv1.Trial) {
	if len(t.kept) == cap(t.kept) {
		t.sort()
		t.kept = t.kept[:t.size+1]
	}
	t.kept = append(t.kept, placedTrial{k, trial})
}

func (t *topTrials) sort() {
	slices.SortFunc(t.kept, func(a, b placedTrial) int { return bytes.Compare(a.key[:], b.key[:]) })
}

// trials returns the first size trials, and whether there are more.
func (t *topTrials) trials() ([]*trellisv1.Trial, bool) {
	t.sort()
	more := len(t.kept) > t.size
	var trials []*trellisv1.Trial
	for _, placed := range t.kept[:min(len(t.kept), t.size)] {
		trials = append(trials, placed.trial)
	}
	return trials, more
}
