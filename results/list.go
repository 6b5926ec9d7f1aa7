package results

import (
	"bytes"
	"encoding/binary"
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
	if err == nil && after != nil && len(after) != len(sortKey{}) {
		err = fmt.Errorf("page_token is cut short: %w", ErrInvalid)
	}
	if err != nil {
		return nil, err
	}
	response := &trellisv1.ListTrialsResponse{Total: study.Progress.Trials}
	page := newTopTrials(pageSize(request.GetPageSize()))
	if byIndex(request) {
		err = s.pageByIndex(page, study.Name, after)
	} else {
		response.Total, err = s.pageBySorting(page, study.Name, after, sortKeyOf, matches)
	}
	if err != nil {
		return nil, err
	}
	trials, more := page.trials()
	left := room(MaxPageBytes)
	for _, trial := range trials {
		if request.GetLosses() {
			if trial, err = s.withLosses(trial); err != nil {
				return nil, err
			}
		}
		if !left.take(trial) {
			more = true
			break
		}
		response.Trials = append(response.Trials, trial)
	}
	if more {
		last := sortKeyOf(response.Trials[len(response.Trials)-1])
		response.NextPageToken = encodeToken(mark, last[:])
	}
	return response, nil
}

// byIndex says whether all trials are asked for, in the order in which the table has them.
func byIndex(request *trellisv1.ListTrialsRequest) bool {
	return request.GetFilter() == "" && (request.GetOrderBy() == "" || request.GetOrderBy() == "index")
}

// pageByIndex reads no more trials than the page has, and one more.
func (s *Snapshot) pageByIndex(page *topTrials, study string, after key) error {
	from := uint64(0)
	if after != nil {
		from = binary.BigEndian.Uint64(after) + 1
	}
	trials, err := scanFrom[*trellisv1.Trial](s.txn, tableTrials, indexID, trialKey(study, from))
	if err != nil {
		return err
	}
	for trial := range trials {
		if trial.Study != study || len(page.kept) > page.size {
			break
		}
		if trial, err = s.present(trial); err != nil {
			return err
		}
		page.add(newSortKey(trial.Index, trial), trial)
	}
	return nil
}

// pageBySorting reads all of the study's trials and counts those that match.
func (s *Snapshot) pageBySorting(
	page *topTrials, study string, after key, sortKeyOf func(*trellisv1.Trial) sortKey, matches filter,
) (total uint64, err error) {
	trials, err := scan[*trellisv1.Trial](s.txn, nil, tableTrials, indexID, textKey(study))
	if err != nil {
		return 0, err
	}
	for trial := range trials {
		if trial, err = s.present(trial); err != nil {
			return 0, err
		}
		match, err := matches(trial)
		if err != nil {
			return 0, err
		}
		if !match {
			continue
		}
		total++
		if k := sortKeyOf(trial); bytes.Compare(k[:], after) > 0 {
			page.add(k, trial)
		}
	}
	return total, nil
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
