package results

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/catalog"
	"trellis/results/grid"
	"trellis/results/listing"
	"trellis/results/trajectory"
)

// ListTrials returns a page of a study's trials: see ListTrialsRequest. A page starts where the previous page ended in
// the requested order, whatever has happened in between. Only a trial whose place in the order changes in the meantime
// may appear twice or not at all. It fails with ErrNotFound if there is no such study, and with ErrInvalid if order,
// filter or token are invalid.
func (s *Snapshot) ListTrials(request *trellisv1.ListTrialsRequest) (*trellisv1.ListTrialsResponse, error) {
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
	sortKeyOf, err := listing.NewOrder(request.GetOrderBy(), available)
	if err != nil {
		return nil, err
	}
	matches, err := listing.NewFilter(request.GetFilter(), available)
	if err != nil {
		return nil, err
	}
	mark := listing.MarkTrials(request)
	after, err := listing.DecodeToken(mark, request.GetPageToken())
	if err == nil && after != nil && len(after) != len(listing.Key{}) {
		err = fmt.Errorf("invalid page_token: it is cut off: %w", ErrInvalid)
	}
	if err != nil {
		return nil, err
	}
	response := &trellisv1.ListTrialsResponse{Total: study.Progress.Trials}
	page := listing.NewTop(listing.PageSize(request.GetPageSize()))
	switch {
	case byIndex(request):
		err = s.pageByIndex(page, c, after)
	case request.GetFilter() == "" && request.GetOrderBy() == "objective":
		err = s.pageByObjective(page, c, listing.RankingOf(study.Spec), after)
	default:
		response.Total, err = s.pageBySorting(page, c, after, sortKeyOf, matches)
	}
	if err != nil {
		return nil, err
	}
	trials, more := page.Trials()
	left := listing.Room(listing.MaxPageBytes)
	for _, trial := range trials {
		trial = trajectory.Presented(trial)
		if request.GetLosses() {
			if trial, err = s.WithLosses(trial); err != nil {
				return nil, err
			}
		}
		if !left.Take(trial) {
			more = true
			break
		}
		response.Trials = append(response.Trials, trial)
	}
	if more {
		last := sortKeyOf(response.Trials[len(response.Trials)-1])
		response.NextPageToken = listing.EncodeToken(mark, last[:])
	}
	return response, nil
}

// fieldsFor are those that a request may name. Metrics are looked for only where it may name one, as that reads runs
// until the first that has been trained.
func (s *Snapshot) fieldsFor(study *trellisv1.Study, request *trellisv1.ListTrialsRequest) ([]listing.Field, error) {
	available := listing.RankedBy(listing.RankingOf(study.GetSpec()), listing.FieldsOn(grid.Parameters(study.GetSpec())))
	name := strings.TrimPrefix(request.GetOrderBy(), "-")
	if request.GetFilter() == "" && (name == "" || listing.Has(available, name)) {
		return available, nil
	}
	names, err := s.metricNames(study.GetName())
	if err != nil {
		return nil, err
	}
	return listing.WithMetrics(names, available), nil
}

// metricNames are what a study's model reports of an epoch beside its losses, of the validation images: ascending, and
// none before the first epoch. All runs of a model have the same. Of a program, these are all that any run has reported.
func (s *Snapshot) metricNames(study string) ([]string, error) {
	members, err := s.touchedOf(study)
	if err != nil {
		return nil, err
	}
	own := map[string]bool{}
	for member := range members {
		if member.Terms != nil && member.Terms.Program != nil {
			for name := range member.Losses.GetMetrics() {
				own[name] = true
			}
			continue
		}
		if run := member.Run; run.Epochs > 0 {
			return slices.Sorted(maps.Keys(trajectory.ValidationMetrics(member.Losses, run.Epochs))), nil
		}
	}
	return slices.Sorted(maps.Keys(own)), s.Err()
}

// byIndex says whether all trials are asked for, in the order in which the table has them.
func byIndex(request *trellisv1.ListTrialsRequest) bool {
	return request.GetFilter() == "" && (request.GetOrderBy() == "" || request.GetOrderBy() == "index")
}

// pageByIndex reads no more trials than the page has, and one more.
func (s *Snapshot) pageByIndex(page *listing.Top, c *catalog.Catalog, after key) error {
	from := uint64(0)
	if after != nil {
		from = binary.BigEndian.Uint64(after) + 1
	}
	for range page.Size + 1 {
		index, ok := c.From(from)
		if !ok {
			return nil
		}
		trial, err := s.trialAt(c, index)
		if err != nil {
			return err
		}
		page.Add(listing.NewKey(index, trial), trial)
		from = index + 1
	}
	return nil
}

// pageByObjective reads the trials that follow in the ranking, and those that are still open: all whose runs have begun
// and, where the page reaches beyond what has a finite objective, the others too.
func (s *Snapshot) pageByObjective(
	page *listing.Top, c *catalog.Catalog, ranking listing.Ranking, after key,
) error {
	var from listing.Key
	copy(from[:], after)
	ranked, err := s.ranked(nil, c.Study, from)
	if err != nil {
		return err
	}
	wanted, finite := page.Size+1, 0
	for trial := range ranked {
		if wanted--; wanted < 0 {
			break
		}
		finite += page.AddAfter(after, ranking.Key(trial), trial)
	}
	addOpen := func(runs func(*section) uint64) error {
		sections, err := s.sectionsOf(c.Study)
		if err != nil {
			return err
		}
		for section := range sections {
			for open := runs(section); open != 0; open &= open - 1 {
				slot := bits.TrailingZeros64(open)
				member, place := section.member(c, slot), section.number*sectionSize+uint32(slot)
				if member == nil {
					continue
				}
				indexes := c.IndexesAt(place)
				for milestone := len(member.Answers); milestone < len(member.Run.Milestones); milestone++ {
					trial := member.Trial(uint32(milestone), indexes[milestone])
					finite += page.AddAfter(after, ranking.Key(trial), trial)
				}
			}
		}
		return s.Err()
	}
	if err := addOpen(func(s *section) uint64 { return s.open & s.begun }); err != nil || finite > page.Size {
		return err
	}
	if err := addOpen(func(s *section) uint64 { return s.open &^ s.begun }); err != nil {
		return err
	}
	return s.addUntouched(page, c, ranking, after)
}

// addUntouched adds the trials of untouched runs.
func (s *Snapshot) addUntouched(page *listing.Top, c *catalog.Catalog, ranking listing.Ranking, after key) error {
	if c.Base == nil {
		return nil
	}
	untouched, err := s.untouchedOf(c)
	if err != nil {
		return err
	}
	for place, member := range untouched {
		indexes := c.IndexesAt(place)
		for milestone := range member.Run.Milestones {
			trial := member.Trial(uint32(milestone), indexes[milestone])
			page.AddAfter(after, ranking.Key(trial), trial)
		}
	}
	return s.Err()
}

// pageBySorting reads all of the study's trials and counts those that match.
func (s *Snapshot) pageBySorting(
	page *listing.Top, c *catalog.Catalog, after key, sortKeyOf func(*trellisv1.Trial) listing.Key,
	matches listing.Filter,
) (total uint64, err error) {
	members, err := s.membersOf(c)
	if err != nil {
		return 0, err
	}
	for place, member := range members {
		indexes := c.IndexesAt(place)
		for milestone := range member.Run.Milestones {
			trial := trajectory.Presented(member.Trial(uint32(milestone), indexes[milestone]))
			match, err := matches(trial)
			if err != nil {
				return 0, err
			}
			if !match {
				continue
			}
			total++
			if k := sortKeyOf(trial); bytes.Compare(k[:], after) > 0 {
				page.Add(k, trial)
			}
		}
	}
	return total, s.Err()
}
