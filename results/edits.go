package results

import (
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/hashicorp/go-memdb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/catalog"
	"trellis/results/trajectory"
)

// edits are a change's copies of a table's rows, in the order in which they were first changed.
type edits[Row any] struct {
	reader
	table string
	// noun is what a row is, for errors.
	noun string
	key  func(*Row) key
	copy func(*Row) *Row

	rows  []edited[Row]
	byKey map[string]int
}

// edited is one row before the change, nil if it is new, and after it.
type edited[Row any] struct {
	before, after *Row
}

// get returns the current row for reading: the change's copy, or the stored row. It fails with ErrNotFound.
func (e *edits[Row]) get(k key) (*Row, error) {
	if i, ok := e.byKey[string(k)]; ok {
		return e.rows[i].after, nil
	}
	row, err := first[*Row](e.reader, nil, e.table, indexID, k)
	if err != nil {
		return nil, err
	}
	if row == nil {
		return nil, fmt.Errorf("the %s: %w", e.noun, ErrNotFound)
	}
	return row, nil
}

// edit returns the change's copy of a row that get has returned. The caller may change it.
func (e *edits[Row]) edit(row *Row) *Row {
	if i, ok := e.byKey[string(e.key(row))]; ok {
		return e.rows[i].after
	}
	after := e.copy(row)
	e.put(row, after)
	return after
}

// add makes a new row part of the change.
func (e *edits[Row]) add(row *Row) { e.put(nil, row) }

func (e *edits[Row]) put(before, after *Row) {
	if e.byKey == nil {
		e.byKey = map[string]int{}
	}
	e.byKey[string(e.key(after))] = len(e.rows)
	e.rows = append(e.rows, edited[Row]{before, after})
}

func (e *edits[Row]) insert() error {
	for _, row := range e.rows {
		if err := insert(e.txn, e.table, row.after); err != nil {
			return err
		}
	}
	return nil
}

// moveFrontiers moves the frontiers of the studies that have got sections.
func (c *change) moveFrontiers() error {
	for _, edit := range c.sections.inOrder {
		if edit.before != nil || edit.after == nil || edit.number*sectionSize >= edit.catalog.BaseRuns() {
			continue
		}
		study := edit.catalog.Study
		at, err := first[*frontier](c.reader, nil, tableFrontiers, indexID, textKey(study))
		if err != nil {
			return err
		}
		if at == nil || at.number != edit.number {
			continue
		}
		moved, err := advance(*at, edit.catalog, func(number uint32) (bool, error) {
			if its := c.sections.byPlace[sectionPlace{study, number}]; its != nil {
				return its.before != nil || its.after != nil, nil
			}
			return c.hasSection(study, number)
		})
		if err != nil {
			return err
		}
		if err := insert(c.txn, tableFrontiers, moved); err != nil {
			return err
		}
	}
	return nil
}

// setUntouched changes what has become of a study's untouched runs. PENDING is nil.
func (c *change) setUntouched(study *trellisv1.Study, untouched *trellisv1.Untouched) error {
	its, err := c.sections.catalog(study.Name)
	if err != nil || its.Base == nil {
		return err
	}
	its = its.WithUntouched(untouched)
	if err := c.sections.replace(its); err != nil {
		return err
	}
	if study.Untouched = untouched; untouched != nil {
		study.Sharing = nil // Nobody trains them.
	}
	sections, err := c.sectionsOf(study.Name)
	if err != nil {
		return err
	}
	for stored := range sections {
		if stored.sealed != nil || untouchedBits(stored) == 0 {
			continue
		}
		h, err := c.sections.at(its, stored.number*sectionSize)
		if err != nil {
			return err
		}
		section := h.change()
		if section.pending &^= untouchedBits(section); untouched == nil {
			section.pending |= untouchedBits(section)
		}
	}
	return nil
}

// untouched returns how many runs, trials and epochs of a study are untouched: all of the base but for those that have
// been touched before the change or in it. Where untouched runs are PENDING, only runs that have not ended are looked
// at.
func (c *change) untouched(study *trellisv1.Study) (runs, trials, epochs uint64, err error) {
	its, err := c.sections.catalog(study.Name)
	if err != nil {
		return 0, 0, 0, err
	}
	if study.Untouched == nil {
		return c.untouchedOpen(study, its)
	}
	touched, err := c.sections.touched(its)
	if err != nil {
		return 0, 0, 0, err
	}
	runs, trials, epochs = its.Cost()
	for _, h := range touched {
		if !its.InBase(h.number*sectionSize + uint32(h.slot)) {
			continue
		}
		run := h.run()
		runs--
		trials -= uint64(len(run.Milestones))
		epochs -= uint64(run.Parameters.GetMaxEpochs())
	}
	return runs, trials, epochs, nil
}

// untouchedOpen is untouched where untouched runs are PENDING: those that have not ended, as the study's progress has
// them from before the change, without those that are touched.
func (c *change) untouchedOpen(
	study *trellisv1.Study, its *catalog.Catalog,
) (runs, trials, epochs uint64, err error) {
	touched, err := c.sections.unsealed(its)
	if err != nil {
		return 0, 0, 0, err
	}
	p := &trellisv1.Progress{}
	for _, h := range touched {
		if before := h.stored(h.slot); before != nil {
			trajectory.AddProgress(p, nil, before.Run)
		}
	}
	all := study.Progress
	open := func(p *trellisv1.Progress) uint64 {
		return p.Trials - p.TrialsSucceeded - p.TrialsFailed - p.TrialsCanceled - p.TrialsPruned
	}
	return trajectory.OpenRuns(all) - trajectory.OpenRuns(p), open(all) - open(p), all.EpochsLeft - p.EpochsLeft, nil
}

// sectionEdit is a section that a change has looked at: before the change and, if anything in it has changed, after it.
// A section that has no row yet has no before.
type sectionEdit struct {
	catalog       *catalog.Catalog
	number        uint32
	before, after *section
	// wasSealed says that the section is sealed before the change.
	wasSealed bool
	// untouched are the untouched runs that the change has looked at, by slot.
	untouched map[int]*trajectory.Trajectory
}

// handle is a run within a change.
type handle struct {
	*sectionEdit
	slot int
}

// member returns the run's current trajectory, including changes so far, for reading.
func (h handle) member() *trajectory.Trajectory {
	if h.after != nil && h.after.members[h.slot] != nil {
		return h.after.members[h.slot]
	}
	return h.stored(h.slot)
}

func (h handle) run() *trellisv1.Run { return h.member().Run }

// edit returns the change's copy of the run's trajectory, and of the run in it. The caller may change both.
func (h handle) edit() *trajectory.Trajectory {
	h.change()
	if !h.changed(h.slot) {
		h.after.members[h.slot] = h.stored(h.slot).Clone()
	}
	return h.after.members[h.slot]
}

// change returns the change's copy of the section.
func (e *sectionEdit) change() *section {
	switch {
	case e.after != nil:
	case e.before == nil:
		e.after = untouchedSection(e.catalog, e.number)
	default:
		s := *e.before
		s.members, s.kept = slices.Clone(s.members), &keptOfSection{}
		e.after = &s
	}
	return e.after
}

// now returns the section as it is so far, nil if it has no row and nothing in it has changed.
func (e *sectionEdit) now() *section {
	if e.after != nil {
		return e.after
	}
	return e.before
}

// changed says whether the change has its own copy of a run, or has added it.
func (e *sectionEdit) changed(slot int) bool {
	now := e.after.members[slot]
	return now != nil && now != e.row(slot)
}

// row returns a run's trajectory as it is stored, or nil if it is not.
func (e *sectionEdit) row(slot int) *trajectory.Trajectory {
	if e.before == nil || slot >= len(e.before.members) {
		return nil
	}
	return e.before.members[slot]
}

// stored returns a run's trajectory before the change, or nil if the run is new.
func (e *sectionEdit) stored(slot int) *trajectory.Trajectory {
	if row := e.row(slot); row != nil {
		return row
	}
	place := e.number*sectionSize + uint32(slot)
	if !e.catalog.InBase(place) {
		return nil
	}
	its, known := e.untouched[slot]
	if !known {
		if e.untouched == nil {
			e.untouched = map[int]*trajectory.Trajectory{}
		}
		its = e.catalog.Untouched(place)
		e.untouched[slot] = its
	}
	return its
}

// sectionPlace identifies a section.
type sectionPlace struct {
	study  string
	number uint32
}

// sectionEdits are the sections that a change has looked at.
type sectionEdits struct {
	reader
	catalogs map[string]*catalog.Catalog
	byPlace  map[sectionPlace]*sectionEdit
	// inOrder has the same edits in the order in which the sections were looked at.
	inOrder []*sectionEdit
}

func newSectionEdits(r reader) sectionEdits {
	return sectionEdits{reader: r, catalogs: map[string]*catalog.Catalog{}, byPlace: map[sectionPlace]*sectionEdit{}}
}

// replace stores a study's catalog, for the first time or in the place of another one. Runs that the change has not
// touched are from now on what the new one says.
func (e *sectionEdits) replace(c *catalog.Catalog) error {
	e.catalogs[c.Study] = c
	for _, edit := range e.inOrder {
		if edit.catalog.Study != c.Study {
			continue
		}
		edit.catalog = c
		maps.DeleteFunc(edit.untouched, func(slot int, _ *trajectory.Trajectory) bool {
			return edit.after == nil || edit.after.members[slot] == nil
		})
	}
	return insert(e.txn, tableCatalogs, c)
}

// grow adds new members to a study, from the place after its existing listed ones on. The catalog already has them, and
// the change owns them.
func (e *sectionEdits) grow(c *catalog.Catalog, next uint32, members []*trajectory.Trajectory) error {
	if room := min(int(-next&(sectionSize-1)), len(members)); room > 0 {
		last, err := e.at(c, next-1)
		if err != nil {
			return err
		}
		section := last.change()
		section.members = append(section.members, members[:room]...)
		next, members = next+uint32(room), members[room:]
	}
	for _, section := range newSections(c, next/sectionSize, members) {
		edit := &sectionEdit{catalog: c, number: section.number, after: section}
		e.byPlace[sectionPlace{c.Study, section.number}] = edit
		e.inOrder = append(e.inOrder, edit)
	}
	return nil
}

// find returns a run, or ErrNotFound.
func (e *sectionEdits) find(study, id string) (handle, error) {
	c, err := e.catalog(study)
	if err != nil {
		return handle{}, err
	}
	if c != nil {
		if place, ok := c.Find(id); ok {
			return e.at(c, place)
		}
	}
	return handle{}, fmt.Errorf("the run: %w", ErrNotFound)
}

// catalog returns a study's catalog, or nil if there is no such study.
func (e *sectionEdits) catalog(study string) (*catalog.Catalog, error) {
	if c := e.catalogs[study]; c != nil {
		return c, nil
	}
	c, err := first[*catalog.Catalog](e.reader, nil, tableCatalogs, indexID, textKey(study))
	if c != nil {
		e.catalogs[c.Study] = c
	}
	return c, err
}

// at returns the run at a place that the catalog has.
func (e *sectionEdits) at(c *catalog.Catalog, place uint32) (handle, error) {
	slot, where := int(place%sectionSize), sectionPlace{c.Study, place / sectionSize}
	if edit := e.byPlace[where]; edit != nil {
		return handle{edit, slot}, nil
	}
	stored, err := first[*section](e.reader, nil, tableSections, indexID, sectionKey(c.Study, where.number))
	if err != nil {
		return handle{}, err
	}
	edit := &sectionEdit{
		catalog: c, number: where.number, before: stored.unsealed(c),
		wasSealed: stored != nil && stored.sealed != nil,
	}
	e.byPlace[where] = edit
	e.inOrder = append(e.inOrder, edit)
	return handle{edit, slot}, nil
}

// members returns the places and the current trajectories of the runs of a study that have been touched, before the
// change or in it. Sections that are sealed, and that the change has not looked at, are read one after the other: all
// together would take the memory of a store without sealed sections. The caller may look at runs meanwhile.
func (e *sectionEdits) members(c *catalog.Catalog) (iter.Seq2[uint32, *trajectory.Trajectory], error) {
	sections, err := e.sectionsOf(c.Study)
	if err != nil {
		return nil, err
	}
	return func(yield func(uint32, *trajectory.Trajectory) bool) {
		for stored := range sections {
			now := stored
			if edit := e.byPlace[sectionPlace{c.Study, stored.number}]; edit != nil {
				now = edit.now()
			}
			if !now.each(c, yield) {
				return
			}
		}
		for _, edit := range e.inOrder {
			added := edit.catalog.Study == c.Study && edit.before == nil && edit.after != nil
			if added && !edit.after.each(c, yield) {
				return
			}
		}
	}, nil
}

// isSealed says whether the run at a place is sealed, and the change has not looked at its section.
func (e *sectionEdits) isSealed(c *catalog.Catalog, place uint32) (bool, error) {
	where := sectionPlace{c.Study, place / sectionSize}
	if e.byPlace[where] != nil {
		return false, nil
	}
	stored, err := first[*section](e.reader, nil, tableSections, indexID, sectionKey(c.Study, where.number))
	return stored != nil && stored.sealed != nil, err
}

// touched returns the runs of a study that have been touched, before the change or in it, in the order of their places.
func (e *sectionEdits) touched(c *catalog.Catalog) ([]handle, error) { return e.touchedIn(c, true) }

// unsealed is touched without the runs of sections that are sealed and have not been looked at in the change. They have
// all succeeded, and nothing is to be decided about them.
func (e *sectionEdits) unsealed(c *catalog.Catalog) ([]handle, error) { return e.touchedIn(c, false) }

func (e *sectionEdits) touchedIn(c *catalog.Catalog, sealed bool) ([]handle, error) {
	sections, err := e.sectionsOf(c.Study)
	if err != nil {
		return nil, err
	}
	var numbers []uint32
	for section := range sections {
		if sealed || section.sealed == nil {
			numbers = append(numbers, section.number)
		}
	}
	for _, edit := range e.inOrder {
		if edit.catalog.Study == c.Study && (edit.before == nil && edit.after != nil || edit.wasSealed && !sealed) {
			numbers = append(numbers, edit.number)
		}
	}
	slices.Sort(numbers)
	var runs []handle
	for _, number := range numbers {
		its, err := e.at(c, number*sectionSize)
		if err != nil {
			return nil, err
		}
		for slot, member := range its.now().members {
			if member != nil {
				runs = append(runs, handle{its.sectionEdit, slot})
			}
		}
	}
	return runs, nil
}

// frontier is the number of a study's first section that has no row, if its runs follow from the spec. All sections
// before it have rows, and nearly none after it: runs are touched in the order of their places.
type frontier struct {
	study  string
	number uint32
}

// tableFrontiers has, by study, where its untouched sections begin.
const tableFrontiers = "frontiers"

func frontiersSchema() *memdb.TableSchema {
	return tableSchema(tableFrontiers, index(indexID, func(f *frontier) key { return textKey(f.study) }))
}

// hasSection says whether a section of a study has a row.
func (r reader) hasSection(study string, number uint32) (bool, error) {
	section, err := first[*section](r, nil, tableSections, indexID, sectionKey(study, number))
	return section != nil, err
}

// advance moves a study's frontier on to the next section that has no row. has says whether a section has one.
func advance(at frontier, c *catalog.Catalog, has func(number uint32) (bool, error)) (*frontier, error) {
	for ; at.number*sectionSize < c.BaseRuns(); at.number++ {
		if there, err := has(at.number); err != nil || !there {
			return &at, err
		}
	}
	return &at, nil
}
