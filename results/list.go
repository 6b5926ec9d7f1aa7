package results

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"math/bits"
	"slices"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/catalog"
	"trellis/results/condition"
	"trellis/results/grid"
	"trellis/results/lattice"
	"trellis/results/listing"
	"trellis/results/selection"
	"trellis/results/trajectory"
)

// ListTrials returns a page of a study's trials: see ListTrialsRequest. A page starts where the previous page ended in
// the requested order, whatever has happened in between. Only a trial whose place in the order changes in the meantime
// may appear twice or not at all. It fails with ErrNotFound if there is no such study, with ErrInvalid if order, filter or
// token are invalid, and with ErrReplaced if the token is of another study of that name.
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
	in, err := listing.OrderOf(study, c.UntouchedState(), request.GetOrderBy(), available)
	if err != nil {
		return nil, err
	}
	filter, offset := request.GetFilter(), request.GetOffset()
	if offset > 0 && condition.IsEmpty(filter) {
		filter = "true" // All trials are added.
	}
	query, err := selection.NewQuery(filter, available, c)
	if err != nil {
		return nil, err
	}
	mark := listing.MarkTrials(request)
	after, err := listing.DecodeStudyToken(mark, study, request.GetPageToken())
	if err == nil && after != nil && len(after) != len(listing.Key{}) {
		err = fmt.Errorf("invalid page_token: it is cut off: %w", ErrInvalid)
	}
	if err != nil {
		return nil, err
	}
	response := &trellisv1.ListTrialsResponse{
		Total: study.Progress.Trials, CreateIndex: study.CreateIndex, ModifyIndex: study.ModifyIndex,
	}
	page := listing.NewTopAfter(offset, listing.PageSize(request.GetPageSize()))
	byIndex, _ := in.ByIndex()
	if offset > 0 && condition.IsEmpty(request.GetFilter()) && request.GetOrderBy() == "objective" {
		before, ok, err := s.rankedBefore(c.Study, offset)
		if err != nil {
			return nil, err
		}
		if ok {
			page, filter, after = listing.NewTop(page.Size), "", before[:]
		}
	}
	var trials []*trellisv1.Trial
	var more bool
	of := orderOf{request.GetOrderBy(), request.GetFilter()}
	switch {
	case !condition.IsEmpty(filter) && offset > 0 && s.keepsOrder(study, c, of):
		var indexes []uint32
		if indexes, err = s.inOrder(study, c, query, in, of); err == nil {
			trials, more = pageOf(indexes, offset, page.Size)
			response.Total = uint64(len(indexes))
		}
	case !condition.IsEmpty(filter):
		query.Page, query.Order, query.After = page, in, after
		err = s.addByFilter(study, c, query)
		response.Total = query.Total
	case byIndex:
		err = s.pageByIndex(page, c, in, after)
	case request.GetOrderBy() == "objective":
		err = s.pageByObjective(page, c, in, listing.RankingOf(study.Spec), after)
	default:
		err = s.addInOrder(page, c, in, listing.RankingOf(study.Spec), after)
	}
	if err != nil {
		return nil, err
	}
	if trials == nil {
		trials, more = page.Trials()
	}
	left := listing.Room(listing.MaxPageBytes)
	listed := map[string]bool{}
	for _, trial := range trials {
		if trial, err = s.complete(c, trial); err != nil {
			return nil, err
		}
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
		if request.GetRuns() && !listed[trial.Run] {
			place, _, _ := c.Trial(trial.Index)
			member, err := s.memberAt(nil, c, place)
			if err != nil {
				return nil, fmt.Errorf("run of trial %d: %w", trial.Index, err)
			}
			listed[trial.Run] = true
			left.Take(member.Run)
			response.Runs = append(response.Runs, member.Run)
		}
	}
	if more {
		last := in.Key(response.Trials[len(response.Trials)-1])
		response.NextPageToken = listing.EncodeStudyToken(mark, study, last[:])
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

// pageByIndex reads no more trials than the page has, and one more.
func (s *Snapshot) pageByIndex(page *listing.Top, c *catalog.Catalog, order listing.Order, after key) error {
	next := func(index uint64) (uint64, bool) { return c.From(index + 1) }
	index, ok := c.From(0)
	if _, descending := order.ByIndex(); descending {
		next = c.Before
		index, ok = c.Before(c.Indices())
	}
	if after != nil {
		index, ok = next(listing.Key(after).Parts()[3])
	}
	for range page.Size + 1 {
		if !ok {
			return nil
		}
		trial, err := s.trialAt(c, index)
		if err != nil {
			return err
		}
		page.Add(order.Key(trial), trial)
		index, ok = next(index)
	}
	return nil
}

// pageByObjective reads the trials that follow in the ranking, and those that are still open: all whose runs have begun
// and, where the page reaches beyond what has a finite objective, the others too.
func (s *Snapshot) pageByObjective(
	page *listing.Top, c *catalog.Catalog, order listing.Order, ranking listing.Ranking, after key,
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
	sections, err := s.sectionsOf(c.Study)
	if err != nil {
		return err
	}
	for section := range sections {
		for open := section.open & section.begun; open != 0; open &= open - 1 {
			slot := bits.TrailingZeros64(open)
			member := section.member(c, slot)
			indexes := c.IndexesAt(section.number*sectionSize + uint32(slot))
			for milestone := len(member.Answers); milestone < len(member.Run.Milestones); milestone++ {
				trial := member.Trial(uint32(milestone), indexes[milestone])
				finite += page.AddAfter(after, ranking.Key(trial), trial)
			}
		}
	}
	if err := s.Err(); err != nil || finite > page.Size {
		return err
	}
	*page = *listing.NewTop(page.Size)
	return s.addInOrder(page, c, order, ranking, after)
}

// addInOrder adds trials in an order, of which name is the field: the first ones of the page, and those that are beyond
// its last by little.
//
// Trials with rows are in sections, which keep what their trials are ordered by: see package columns. The untouched
// trials that follow from the spec differ only in their parameters, so the lattice has them in order.
func (s *Snapshot) addInOrder(
	page *listing.Top, c *catalog.Catalog, order listing.Order, ranking listing.Ranking, after key,
) error {
	stored, err := s.addStored(page, c, order, ranking, after)
	if err != nil || c.Base == nil {
		return err
	}
	if order.OfPoint && !c.Base.Disjoint() {
		stored = newStored(c) // None of them counts as touched.
	}
	switch {
	case !c.Base.Disjoint():
		for trial := range s.untouchedTrials(c, order, stored) {
			page.AddAfter(after, order.Key(trial), trial)
		}
		return s.Err()
	case !order.OfPoint && stored.untouched < c.BaseRuns()/2:
		err = s.offerUntouched(page, c, order, after, stored)
	default:
		err = s.addBase(page, c, order, after, stored)
	}
	if err != nil {
		return err
	}
	// Runs that follow from the spec may have got more trials.
	for trial := range s.lengthened(c, order, stored, order.OfPoint) {
		page.AddAfter(after, order.Key(trial), trial)
	}
	return s.Err()
}

// addStored adds the trials that have rows, and returns the sections of the runs that follow from the spec, by number.
func (s *Snapshot) addStored(
	page *listing.Top, c *catalog.Catalog, order listing.Order, ranking listing.Ranking, after key,
) (*storedSections, error) {
	sections, err := s.sectionsOf(c.Study)
	if err != nil {
		return nil, err
	}
	stored := newStored(c)
	if !order.OfPoint {
		from := listing.Place{}
		if after != nil {
			from = listing.Key(after).Place()
		}
		for section := range sections {
			stored.add(section)
			section.columns(c, ranking).Offer(page, order, from)
		}
		return stored, s.Err()
	}
	type first struct {
		key listing.Key
		of  *section
	}
	var firsts []first
	for section := range sections {
		if !stored.add(section) { // The lattice has the others, touched or not.
			firsts = append(firsts, first{section.first(c, order), section})
		}
	}
	slices.SortFunc(firsts, func(a, b first) int { return bytes.Compare(a.key[:], b.key[:]) })
	for _, its := range firsts {
		if last, full := page.Last(); full && bytes.Compare(its.key[:], last[:]) > 0 {
			break
		}
		for trial := range its.of.trials(c) {
			page.AddAfter(after, order.Key(trial), trial)
		}
		if s.Err() != nil {
			break
		}
	}
	return stored, s.Err()
}

// storedSections are those of the runs that follow from the spec, by number. Nil: nobody has touched one of them.
type storedSections struct {
	sections []*section
	// runs is how many there are, and untouched how many of them are.
	runs, untouched uint32
}

func newStored(c *catalog.Catalog) *storedSections {
	return &storedSections{make([]*section, (c.BaseRuns()+sectionSize-1)/sectionSize), c.BaseRuns(), c.BaseRuns()}
}

// add takes note of a section, if its runs follow from the spec.
func (s *storedSections) add(its *section) (ofBase bool) {
	if its.number >= uint32(len(s.sections)) {
		return false
	}
	s.sections[its.number] = its
	s.untouched -= uint32(its.size() - bits.OnesCount64(untouchedBits(its)))
	return true
}

func (s *storedSections) touched(place uint32) bool {
	its := s.sections[place/sectionSize]
	return its != nil && (its.sealed != nil || its.members[place%sectionSize] != nil)
}

// each yields the places of untouched runs.
func (s *storedSections) each(yield func(place uint32) bool) {
	for number, its := range s.sections {
		first := uint32(number) * sectionSize
		switch {
		case its == nil:
			for place := first; place < min(first+sectionSize, s.runs); place++ {
				if !yield(place) {
					return
				}
			}
		case its.sealed == nil:
			for slot, member := range its.members {
				if member == nil && !yield(first+uint32(slot)) {
					return
				}
			}
		}
	}
}

// fewUntouched is what part of the runs may be untouched so that it is faster to look at them all than to look for them
// in order.
const fewUntouched = 16

// addBase adds untouched trials that follow from the spec, and in an order by a parameter the touched ones too.
func (s *Snapshot) addBase(
	page *listing.Top, c *catalog.Catalog, order listing.Order, after key, stored *storedSections,
) error {
	var from []uint64
	if after != nil {
		parts := listing.Key(after).Parts()
		from = parts[:]
	}
	wanted, looked := page.Size+1, 0
	key := func(at lattice.Place) (*trellisv1.Trial, listing.Key) {
		trial := order.Untouched(c.Base.At(at.Index), at.Index)
		return trial, order.Key(trial)
	}
	for at := range c.Base.InOrder(order.Levels(), from) {
		touched := !order.OfPoint && stored.touched(at.Run)
		if looked++; touched && looked%1024 != 1 {
			continue
		}
		trial, k := key(at)
		if last, full := page.Last(); full && bytes.Compare(k[:], last[:]) > 0 || s.Err() != nil {
			break
		}
		if touched {
			continue
		}
		page.Add(k, trial)
		if wanted--; wanted == 0 {
			break
		}
	}
	return s.Err()
}

// offerUntouched adds the trials of untouched runs that follow from the spec. It looks at all of these runs, and not at the others.
func (s *Snapshot) offerUntouched(
	page *listing.Top, c *catalog.Catalog, order listing.Order, after key, stored *storedSections,
) error {
	from := listing.Place{}
	if after != nil {
		from = listing.Key(after).Place()
	}
	places := selection.PlacesOf(c.Base.Lattice, order)
	looked, isPlace, indexes := 0, c.Base.IsPlace(), make([]uint64, 1)
	for place := range stored.each {
		if looked++; looked%1024 == 0 && s.Err() != nil {
			break
		}
		if indexes[0] = uint64(place); !isPlace {
			indexes = c.Base.Indexes(place)
		}
		places.OfferUntouched(page, from, indexes)
	}
	return s.Err()
}

// untouchedTrials returns the trials of all untouched runs that follow from the spec.
func (s *Snapshot) untouchedTrials(
	c *catalog.Catalog, order listing.Order, stored *storedSections,
) iter.Seq[*trellisv1.Trial] {
	return func(yield func(*trellisv1.Trial) bool) {
		for place := range c.BaseRuns() {
			if place%sectionSize == 0 && s.Err() != nil {
				return
			}
			if stored.touched(place) {
				continue
			}
			point, milestones, indexes := c.TrialsAt(place)
			for i, epochs := range milestones {
				if !yield(order.Untouched(grid.WithMaxEpochs(point, epochs), indexes[i])) {
					return
				}
			}
		}
	}
}

// complete returns the whole of a trial of the page.
func (s *Snapshot) complete(c *catalog.Catalog, trial *trellisv1.Trial) (*trellisv1.Trial, error) {
	if trial.Run == "" {
		var err error
		if trial, err = s.trialAt(c, trial.Index); err != nil {
			return nil, err
		}
	}
	return trajectory.Presented(trial), nil
}

// addByFilter adds the trials that meet a filter, and counts them. Of those that follow from the spec it reads few: see package
// selection.
func (s *Snapshot) addByFilter(study *trellisv1.Study, c *catalog.Catalog, query *selection.Query) error {
	rows, err := s.sectionsOf(c.Study)
	if err != nil {
		return err
	}
	sections, stored := []*section(nil), newStored(c)
	for section := range rows {
		sections = append(sections, section)
		stored.add(section)
	}
	if err := query.Begin(stored.untouched < c.BaseRuns()/fewUntouched, s.Lasting(study), s.Done(), s.Err); err != nil {
		return err
	}
	if query.Descends() {
		slices.Reverse(sections)
	}
	ranking := listing.RankingOf(study.Spec)
	for _, section := range sections {
		first := section.number * sectionSize
		if c.InBase(first) && query.KnowsTouched() {
			continue
		}
		part := selection.Part{Trials: section.trials(c)}
		if part.InBase = query.Follows() && c.InBase(first); part.InBase {
			part.Columns = section.columns(c, ranking)
			part.Reads = c.Lengthens(first, first+sectionSize)
		}
		if err := query.AddPart(part); err != nil {
			return err
		}
		if s.Err() != nil {
			return s.Err()
		}
	}
	if query.ReadsUntouched() {
		return cmp.Or(query.AddTrials(s.untouchedTrials(c, query.Order, stored)), s.Err())
	}
	if err := query.AddUntouched(stored.each, stored.touched, func() bool { return s.Err() != nil }); err != nil {
		return err
	}
	// Runs that follow from the spec may have got more trials.
	return cmp.Or(query.AddTrials(s.lengthened(c, query.Order, stored, query.KnowsTouched())), s.Err())
}

// lengthened returns the trials that runs have got beside those that follow from the spec: untouched runs, or all.
func (s *Snapshot) lengthened(
	c *catalog.Catalog, order listing.Order, stored *storedSections, all bool,
) iter.Seq[*trellisv1.Trial] {
	return func(yield func(*trellisv1.Trial) bool) {
		for _, listed := range c.Listed() {
			if !c.InBase(listed.Place) || stored.touched(listed.Place) && !all {
				continue
			}
			if s.Err() != nil {
				return
			}
			point, _, _ := c.TrialsAt(listed.Place)
			if !yield(order.Untouched(grid.WithMaxEpochs(point, listed.Epochs), listed.Index)) {
				return
			}
		}
	}
}
