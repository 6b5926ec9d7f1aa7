package results

import (
	"fmt"
	"iter"
	"slices"

	"github.com/hashicorp/go-memdb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/account"
	"trellis/results/catalog"
	"trellis/results/columns"
	"trellis/results/kept"
	"trellis/results/lifecycle"
	"trellis/results/listing"
	"trellis/results/trajectory"
)

// A study may have a million runs. So they are not rows of a table, each with an entry in every index. Instead they are
// stored in sections: a section is a row with the trajectories of 64 runs. An entry in an index of go-memdb costs about
// 400 bytes and a microsecond, and sections divide this by 64. A study's catalog says in which section a run is, and
// where.
//
// A run that follows from its study's spec is untouched until a worker or another study gives it something. The catalog
// makes it for whoever looks at it. A section whose runs are all untouched has no row.

// sectionSize is how many runs a section has. The bits of section.pending depend on it.
const sectionSize = 64

// section is a part of a study's runs, ordered by place.
type section struct {
	study  string
	number uint32
	// changed is the largest modify_index of the runs.
	changed uint64
	// pending has a bit for each run that is PENDING, begun for each run with recorded epochs, and open for each run
	// with trials that have no result yet. due has a bit for each run that is to be audited.
	pending, begun, open, due uint64
	// members are nil where they are untouched, and there are none if the section is sealed.
	members []*trajectory.Trajectory
	sealed  *trajectory.Sealed
	// kept is what queries have computed from this version of the section.
	kept *keptOfSection
}

// keptOfSection is what is kept of a version of a section: what most queries need of all sections is found at once.
type keptOfSection struct {
	kept.Kept
	columns kept.Slot[columns.Columns]
	account kept.Slot[account.Sum]
}

// size returns how many runs the section has.
func (s *section) size() int {
	if s.sealed != nil {
		return s.sealed.Size()
	}
	return len(s.members)
}

// member returns the run in a slot, or nil if it is untouched.
func (s *section) member(c *catalog.Catalog, slot int) *trajectory.Trajectory {
	if s.sealed == nil {
		return s.members[slot]
	}
	its, err := s.sealed.UnsealRun(slot, c.Base.Terms)
	if err != nil {
		s.fail(err)
	}
	return c.Unsealed(s.number*sectionSize+uint32(slot), its)
}

// fail ends the process because a sealed run can't be read: the store has sealed it, or has checked it when it was
// restored.
func (s *section) fail(err error) {
	panic(fmt.Sprintf("results: section %d of study %q: %v", s.number, s.study, err))
}

// each yields the places and the trajectories of the runs of the section that have been touched, and says whether yield
// wants more.
func (s *section) each(c *catalog.Catalog, yield func(uint32, *trajectory.Trajectory) bool) bool {
	for slot, member := range s.slots(c) {
		if member != nil && !yield(s.number*sectionSize+uint32(slot), member) {
			return false
		}
	}
	return true
}

// slots yields the runs of the section, nil where they are untouched. That is faster than asking for one after the
// other.
func (s *section) slots(c *catalog.Catalog) iter.Seq2[int, *trajectory.Trajectory] {
	return s.read(c, false)
}

// withOwn is slots of the runs that may have checkpoints or outputs: nearly no sealed run has any.
func (s *section) withOwn(c *catalog.Catalog) iter.Seq2[int, *trajectory.Trajectory] {
	return s.read(c, true)
}

// read yields the runs of the section, or of sealed ones only those that have something of their own.
func (s *section) read(c *catalog.Catalog, own bool) iter.Seq2[int, *trajectory.Trajectory] {
	if s.sealed == nil {
		return slices.All(s.members)
	}
	return func(yield func(int, *trajectory.Trajectory) bool) {
		opened := trajectory.Opened{Sealed: s.sealed, Terms: c.Base.Terms}
		for slot := range s.sealed.Size() {
			if own {
				has, err := s.sealed.HasOwn(slot)
				if err != nil {
					s.fail(err)
				}
				if !has {
					continue
				}
			}
			its, err := opened.Run(slot)
			if err != nil {
				s.fail(err)
			}
			if !yield(slot, c.Unsealed(s.number*sectionSize+uint32(slot), its)) {
				return
			}
		}
	}
}

// all returns the runs of the section, nil where they are untouched.
func (s *section) all(c *catalog.Catalog) []*trajectory.Trajectory {
	if s.sealed == nil {
		return s.members
	}
	members := make([]*trajectory.Trajectory, s.size())
	for slot, member := range s.slots(c) {
		members[slot] = member
	}
	return members
}

// unsealed returns the section as one that is not sealed.
func (s *section) unsealed(c *catalog.Catalog) *section {
	if s == nil || s.sealed == nil {
		return s
	}
	open := *s
	open.members, open.sealed = s.all(c), nil
	return &open
}

// seal returns the section sealed, if its runs can be, or as it is.
func (s *section) seal(c *catalog.Catalog) (*section, error) {
	first := s.number * sectionSize
	if c.Base == nil || first >= c.BaseRuns() || len(s.members) != int(min(sectionSize, c.BaseRuns()-first)) {
		return s, nil
	}
	for _, member := range s.members {
		if member == nil || !member.Sealable() {
			return s, nil
		}
	}
	// Computed now, while the runs are at hand: afterwards that takes longer.
	s.columns(c, listing.RankingBy(c.Base.Terms.OfObjective()))
	s.account(c)
	its, err := trajectory.Seal(s.members, func(slot int) []uint64 { return c.IndexesAt(first + uint32(slot)) })
	if err != nil {
		return nil, err
	}
	closed := *s
	closed.members, closed.sealed = nil, its
	return &closed, nil
}

// tableCatalogs has, by study, which runs and trials it has.
const tableCatalogs = "catalogs"

func catalogsSchema() *memdb.TableSchema {
	return tableSchema(tableCatalogs,
		index(indexID, func(c *catalog.Catalog) key { return textKey(c.Study) }), meetings())
}

// newCatalog returns a catalog of listed runs whose ids can be parts of keys: see catalog.New.
func newCatalog(
	study string, base *catalog.Base, runs []*trellisv1.Run, listed []catalog.Trial,
) (*catalog.Catalog, error) {
	for _, run := range runs {
		if err := validName(run.GetId()); err != nil {
			return nil, fmt.Errorf("run %s: %w", run.Id, err)
		}
	}
	return catalog.New(study, base, runs, listed)
}

// tableSections has, by study and place, its runs, trials and losses.
const tableSections = "sections"

func sectionsSchema() *memdb.TableSchema {
	return tableSchema(tableSections, index(indexID, func(s *section) key { return sectionKey(s.study, s.number) }))
}

func sectionKey(study string, number uint32) key {
	return newKey(len(study) + 5).text(study).number32(number)
}

// newSections divides members of a study into sections, the first of which has the number. Members are nil where they
// are untouched, and then PENDING if untouched is.
func newSections(c *catalog.Catalog, number uint32, members []*trajectory.Trajectory) (sections []*section) {
	for part := range slices.Chunk(members, sectionSize) {
		s := untouchedSection(c, number)
		s.members = slices.Clip(part)
		for slot, member := range s.members {
			if member != nil {
				s.note(slot, member)
			}
		}
		sections = append(sections, s)
		number++
	}
	return sections
}

// untouchedSection is the section of a number with the runs of the base that are in it, untouched.
func untouchedSection(c *catalog.Catalog, number uint32) *section {
	s := &section{study: c.Study, number: number, kept: &keptOfSection{}}
	if first := number * sectionSize; first < c.BaseRuns() {
		s.members = make([]*trajectory.Trajectory, min(sectionSize, c.BaseRuns()-first))
		s.open = untouchedBits(s)
	}
	if c.Base != nil && c.Base.Untouched == nil {
		s.pending = s.open
	}
	return s
}

// untouchedBits has a bit for each untouched run.
func untouchedBits(s *section) (bits uint64) {
	for slot, member := range s.members {
		bits = setBit(bits, slot, member == nil)
	}
	return bits
}

// note updates the section's bits and index after a member has changed.
func (s *section) note(slot int, member *trajectory.Trajectory) {
	run := member.Run
	s.changed = max(s.changed, run.ModifyIndex)
	s.pending = setBit(s.pending, slot, run.State == lifecycle.RunPending)
	s.begun = setBit(s.begun, slot, run.Epochs > 0)
	s.open = setBit(s.open, slot, len(member.Answers) < len(run.Milestones))
	s.due = setBit(s.due, slot, auditable(run))
}

func setBit(bits uint64, place int, set bool) uint64 {
	if set {
		return bits | 1<<place
	}
	return bits &^ (1 << place)
}

// waiting says which runs of a section are PENDING, or are to be audited, if there are any. Each has a table of its
// own, so that those who wait for such runs are not woken by every report.
type waiting struct {
	study  string
	number uint32
	runs   uint64
}

// tableWaiting has, by study and place, PENDING runs in the order in which they are leased.
const tableWaiting = "waiting"

func waitingSchema() *memdb.TableSchema {
	return tableSchema(tableWaiting, index(indexID, func(w *waiting) key { return sectionKey(w.study, w.number) }))
}

// insertSection stores a section and the rows derived from it. before is the section that it replaces, or nil. Leases
// that have begun or ended are added to moves: who inserts sections inserts these once, after all of them.
func insertSection(txn *memdb.Txn, c *catalog.Catalog, before, after *section, moves *leaseMoves) error {
	row, err := after.seal(c)
	if err != nil {
		return err
	}
	if err := insert(txn, tableSections, row); err != nil {
		return err
	}
	if before == nil {
		before = &section{}
	}
	if err := moveWaiting(txn, tableWaiting, after, before.pending, after.pending); err != nil {
		return err
	}
	if err := moveWaiting(txn, tableDue, after, before.due, after.due); err != nil {
		return err
	}
	for slot, member := range after.members {
		var old *trellisv1.Run
		if member == nil {
			continue
		}
		if slot < len(before.members) && before.members[slot] != nil {
			if before.members[slot] == member {
				continue
			}
			old = before.members[slot].Run
		}
		moves.note(after.number*sectionSize+uint32(slot), old, member.Run)
	}
	return nil
}

// moveWaiting updates a table of runs that wait after a section has changed.
func moveWaiting(txn *memdb.Txn, table string, of *section, before, after uint64) error {
	now := &waiting{of.study, of.number, after}
	switch {
	case after == before:
		return nil
	case after == 0:
		return remove(txn, table, now)
	default:
		return insert(txn, table, now)
	}
}

// sectionsOf returns a study's sections, or those of all studies if study is empty, in the order of places. They end
// early if the reader's context does: see Snapshot.Within.
func (r reader) sectionsOf(study string) (iter.Seq[*section], error) {
	var prefix key
	if study != "" {
		prefix = textKey(study)
	}
	sections, err := scan[*section](r, nil, tableSections, indexID, prefix)
	if err != nil || r.ctx == nil {
		return sections, err
	}
	return func(yield func(*section) bool) {
		for section := range sections {
			if r.ctx.Err() != nil || !yield(section) {
				return
			}
		}
	}, nil
}

// touchedOf returns the trajectories of a study's runs that have been touched, or of those of all studies if study is
// empty, in the order of places.
func (r reader) touchedOf(study string) (iter.Seq[*trajectory.Trajectory], error) {
	return r.touchedIn(study, func(*section) bool { return true })
}

// touchedIn is touchedOf in some sections.
func (r reader) touchedIn(study string, in func(*section) bool) (iter.Seq[*trajectory.Trajectory], error) {
	return r.touchedBy(study, in, (*section).slots)
}

// withOwn returns the trajectories of all runs that may have checkpoints or outputs, without reading most others.
func (r reader) withOwn() (iter.Seq[*trajectory.Trajectory], error) {
	return r.touchedBy("", func(*section) bool { return true }, (*section).withOwn)
}

// touchedBy is touchedIn, of those that slots yields.
func (r reader) touchedBy(
	study string, in func(*section) bool, slots func(*section, *catalog.Catalog) iter.Seq2[int, *trajectory.Trajectory],
) (iter.Seq[*trajectory.Trajectory], error) {
	sections, err := r.sectionsOf(study)
	if err != nil {
		return nil, err
	}
	catalogs, err := r.catalogsOf(study)
	if err != nil {
		return nil, err
	}
	return func(yield func(*trajectory.Trajectory) bool) {
		for section := range sections {
			if !in(section) {
				continue
			}
			for _, member := range slots(section, catalogs[section.study]) {
				if member != nil && !yield(member) {
					return
				}
			}
		}
	}, nil
}

// catalogsOf returns the catalog of a study by its name, or of all studies if it is empty.
func (r reader) catalogsOf(study string) (map[string]*catalog.Catalog, error) {
	var prefix key
	if study != "" {
		prefix = textKey(study)
	}
	rows, err := scan[*catalog.Catalog](r, nil, tableCatalogs, indexID, prefix)
	if err != nil {
		return nil, err
	}
	catalogs := map[string]*catalog.Catalog{}
	for row := range rows {
		catalogs[row.Study] = row
	}
	return catalogs, nil
}

// membersOf returns the trajectories of all of a study's runs with their places, in the order of these. Those of
// untouched runs are made one after the other.
func (r reader) membersOf(c *catalog.Catalog) (iter.Seq2[uint32, *trajectory.Trajectory], error) {
	places, err := r.placesOf(c)
	return func(yield func(uint32, *trajectory.Trajectory) bool) {
		for place, member := range places {
			if member == nil {
				member = c.Untouched(place)
			}
			if !yield(place, member) {
				return
			}
		}
	}, err
}

// placesOf returns the places of all of a study's runs, ascending, each with its trajectory, or with nil if it is
// untouched.
func (r reader) placesOf(c *catalog.Catalog) (iter.Seq2[uint32, *trajectory.Trajectory], error) {
	sections, err := r.sectionsOf(c.Study)
	if err != nil {
		return nil, err
	}
	return func(yield func(uint32, *trajectory.Trajectory) bool) {
		next := uint32(0)
		untouched := func(until uint32) bool {
			for until = min(until, c.BaseRuns()); next < until; next++ {
				if next%sectionSize == 0 && r.err() != nil || !yield(next, nil) {
					return false
				}
			}
			return true
		}
		for section := range sections {
			if !untouched(section.number * sectionSize) {
				return
			}
			next = section.number * sectionSize
			for _, member := range section.slots(c) {
				if next++; !yield(next-1, member) {
					return
				}
			}
		}
		untouched(c.BaseRuns())
	}, nil
}

// memberAt returns the trajectory of the run at a place, which the catalog has. The watch set fires when anything in
// its section changes.
func (r reader) memberAt(ws memdb.WatchSet, c *catalog.Catalog, place uint32) (*trajectory.Trajectory, error) {
	section, err := first[*section](r, ws, tableSections, indexID, sectionKey(c.Study, place/sectionSize))
	if err != nil {
		return nil, err
	}
	if slot := int(place % sectionSize); section != nil && slot < section.size() {
		if member := section.member(c, slot); member != nil {
			return member, nil
		}
	}
	return c.Untouched(place), nil
}

// member returns the trajectory of a run, or ErrNotFound.
func (r reader) member(ws memdb.WatchSet, study, id string) (*trajectory.Trajectory, error) {
	catalog, err := first[*catalog.Catalog](r, ws, tableCatalogs, indexID, textKey(study))
	if err != nil {
		return nil, err
	}
	if catalog != nil {
		if place, ok := catalog.Find(id); ok {
			return r.memberAt(ws, catalog, place)
		}
	}
	return nil, ErrNotFound
}
