package results

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
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
	c, err := s.catalog(study.Name)
	if err != nil {
		return nil, err
	}
	available, err := s.fieldsFor(study, request)
	if err != nil {
		return nil, err
	}
	sortKeyOf, err := trialOrder(request.GetOrderBy(), available)
	if err != nil {
		return nil, err
	}
	matches, err := newFilter(request.GetFilter(), available)
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
	switch {
	case byIndex(request):
		err = s.pageByIndex(page, c, after)
	case request.GetFilter() == "" && request.GetOrderBy() == "objective":
		err = s.pageByObjective(page, c, after)
	default:
		response.Total, err = s.pageBySorting(page, c, after, sortKeyOf, matches)
	}
	if err != nil {
		return nil, err
	}
	trials, more := page.trials()
	left := room(MaxPageBytes)
	for _, trial := range trials {
		if request.GetLosses() {
			if trial, err = s.WithLosses(trial); err != nil {
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

// fieldsFor are those that a request may name. Metrics are looked for only where it may name one, as that reads runs until the
// first that has been trained.
func (s *Snapshot) fieldsFor(study *trellisv1.Study, request *trellisv1.ListTrialsRequest) ([]field, error) {
	available := fieldsOn(grid.OwnAxes(study.GetSpec()))
	name := strings.TrimPrefix(request.GetOrderBy(), "-")
	if request.GetFilter() == "" && (name == "" || hasField(available, name)) {
		return available, nil
	}
	names, err := s.metricNames(study.GetName())
	if err != nil {
		return nil, err
	}
	return metricFields(names, available), nil
}

// byIndex says whether all trials are asked for, in the order in which the table has them.
func byIndex(request *trellisv1.ListTrialsRequest) bool {
	return request.GetFilter() == "" && (request.GetOrderBy() == "" || request.GetOrderBy() == "index")
}

// pageByIndex reads no more trials than the page has, and one more.
func (s *Snapshot) pageByIndex(page *topTrials, c *catalog, after key) error {
	from := 0
	if after != nil {
		from = c.from(binary.BigEndian.Uint64(after) + 1)
	}
	for _, number := range c.byIndex[from:min(len(c.byIndex), from+page.size+1)] {
		trial, err := s.trialAt(c, number)
		if err != nil {
			return err
		}
		page.add(newSortKey(trial.Index, trial), trial)
	}
	return nil
}

// pageByObjective reads the trials that follow in the ranking, and those that are still open: all whose runs have begun and,
// where the page reaches beyond what has a finite objective, the others too.
func (s *Snapshot) pageByObjective(page *topTrials, c *catalog, after key) error {
	var from sortKey
	copy(from[:], after)
	ranked, err := s.ranked(nil, c.study, from)
	if err != nil {
		return err
	}
	wanted, finite := page.size+1, 0
	for trial := range ranked {
		if wanted--; wanted < 0 {
			break
		}
		finite += page.addAfter(after, rankKey(trial), trial)
	}
	addOpen := func(runs func(*section) uint64) error {
		sections, err := s.sectionsOf(c.study)
		if err != nil {
			return err
		}
		for section := range sections {
			for open := runs(section); open != 0; open &= open - 1 {
				slot := bits.TrailingZeros64(open)
				member, place := section.members[slot], section.number*sectionSize+uint32(slot)
				for milestone := len(member.answers); milestone < len(member.run.Milestones); milestone++ {
					trial := c.present(member, c.first[place]+uint32(milestone), uint32(milestone))
					finite += page.addAfter(after, rankKey(trial), trial)
				}
			}
		}
		return nil
	}
	if err := addOpen(func(s *section) uint64 { return s.open & s.begun }); err != nil || finite > page.size {
		return err
	}
	return addOpen(func(s *section) uint64 { return s.open &^ s.begun })
}

// pageBySorting reads all of the study's trials and counts those that match.
func (s *Snapshot) pageBySorting(
	page *topTrials, c *catalog, after key, sortKeyOf func(*trellisv1.Trial) sortKey, matches filter,
) (total uint64, err error) {
	members, err := s.membersOf(c.study)
	if err != nil {
		return 0, err
	}
	number := uint32(0)
	for member := range members {
		for milestone := range member.run.Milestones {
			trial := c.present(member, number, uint32(milestone))
			number++
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

// addAfter adds a trial if its key is above after, and counts it if it also has a finite objective, with which the key
// begins.
func (t *topTrials) addAfter(after key, k sortKey, trial *trellisv1.Trial) (finite int) {
	if bytes.Compare(k[:], after) <= 0 {
		return 0
	}
	t.add(k, trial)
	if binary.BigEndian.Uint64(k[:]) == math.MaxUint64 {
		return 0
	}
	return 1
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
