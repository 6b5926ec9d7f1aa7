package results

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/catalog"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// change is one write to the store: a transaction, and copies of the rows that it changes. A row is copied when it is
// first changed, and inserted at commit. Commit also keeps the books: only there, counts of runs and indices of changes
// are updated.
type change struct {
	reader
	index uint64
	now   *timestamppb.Timestamp
	// rules are those by which failures are judged. Only Record and SetWorker have any.
	rules trajectory.Rules

	studies  edits[trellisv1.Study]
	sections sectionEdits
	workers  edits[trellisv1.Worker]
	// granted counts the runs that the change has granted, by worker. The workers' rows include them only after the
	// commit.
	granted map[string]uint32
	// answered are the trials that get their results in this change.
	answered []*trellisv1.Trial
	// family caches the relatives of studies, nil for studies without relatives.
	family map[string]*relatives
	// prunes has the pruners of the studies whose runs have changed, nil for those that don't prune. pruners has the
	// same pruners in the order in which they were found.
	prunes  map[string]*pruner
	pruners []*pruner
	// takenBack are the studies with runs that have fewer epochs or other results than before, and suspected those with
	// new suspects.
	takenBack map[string]bool
	suspected []string
	// unanswered are the trials that have lost their results in this change.
	unanswered []*trellisv1.Trial
}

// begin opens a transaction for the command at the given log index, proposed at now. Commit or abort ends it.
func (s *Store) begin(index uint64, now *timestamppb.Timestamp) *change {
	r := reader{txn: s.tables.Load().db.Txn(true)}
	return &change{
		reader:   r,
		index:    index,
		now:      proto.CloneOf(now),
		studies:  edits[trellisv1.Study]{reader: r, table: tableStudies, noun: "study", key: studyKey, copy: copyStudy},
		sections: newSectionEdits(r),
		workers: edits[trellisv1.Worker]{
			reader: r, table: tableWorkers, noun: "worker", key: workerKey, copy: copyWorker,
		},
		granted: map[string]uint32{},
		family:  map[string]*relatives{},
		prunes:  map[string]*pruner{},

		takenBack: map[string]bool{},
	}
}

// abort drops the change, unless it has been committed.
func (c *change) abort() { c.txn.Abort() }

func (c *change) commit() error {
	if err := c.follow(); err != nil {
		return err
	}
	if err := c.audit(); err != nil {
		return err
	}
	for _, section := range c.sections.inOrder {
		if section.after == nil {
			continue
		}
		if err := c.keepBooks(section); err != nil {
			return err
		}
		if err := insertSection(c.txn, section.before, section.after); err != nil {
			return err
		}
	}
	if err := c.rank(); err != nil {
		return err
	}
	for _, study := range c.studies.rows {
		study.after.ModifyIndex = c.index
		if study.after.State == lifecycle.StudyRunning && trajectory.HasEnded(study.after, study.after.Progress) {
			study.after.State = lifecycle.Study.Must(study.after.State, lifecycle.Complete)
			study.after.EndTime = c.now
		}
	}
	for _, worker := range c.workers.rows {
		worker.after.ModifyIndex = c.index
	}
	for _, insert := range []func() error{c.studies.insert, c.workers.insert} {
		if err := insert(); err != nil {
			return err
		}
	}
	c.txn.Commit()
	return nil
}

// keepBooks applies the changes of a section's runs to their study's progress, to the workers' counts of held runs, and
// to the list of trials with new results.
func (c *change) keepBooks(edit *sectionEdit) error {
	after := edit.after
	study, err := c.studies.get(textKey(after.study))
	if err != nil {
		return err
	}
	progress := c.studies.edit(study).Progress
	for slot, member := range after.members {
		old := edit.stored(slot)
		if old == member {
			continue
		}
		member.Run.ModifyIndex = c.index
		after.note(slot, member)
		if old == nil {
			trajectory.AddProgress(progress, nil, member.Run)
			c.answered = append(c.answered, member.Answers...)
			continue
		}
		trajectory.AddProgress(progress, old.Run, member.Run)
		if old.Run.Worker != member.Run.Worker {
			if err := c.holds(old.Run.Worker, -1); err != nil {
				return err
			}
			if err := c.holds(member.Run.Worker, +1); err != nil {
				return err
			}
		}
		if !c.takenBack[after.study] {
			c.answered = append(c.answered, newAnswers(old.Answers, member.Answers)...)
			continue
		}
		c.answered = append(c.answered, without(member.Answers, old.Answers)...)
		c.unanswered = append(c.unanswered, without(old.Answers, member.Answers)...)
	}
	return nil
}

// newAnswers returns the trials of a run that have results after the change and had none before. Usually they are the
// last ones.
func newAnswers(before, after []*trellisv1.Trial) []*trellisv1.Trial {
	if n := len(before); n == 0 || n <= len(after) && before[n-1] == after[n-1] {
		return after[n:]
	}
	return without(after, before)
}

// without returns the trials that are not among the others.
func without(trials, others []*trellisv1.Trial) []*trellisv1.Trial {
	return slices.DeleteFunc(slices.Clone(trials),
		func(trial *trellisv1.Trial) bool { return slices.Contains(others, trial) })
}

// holds adds to the number of runs that a worker holds. An empty name stands for no worker.
func (c *change) holds(name string, runs int) error {
	if name == "" {
		return nil
	}
	worker, err := c.workers.get(textKey(name))
	if err != nil {
		return err
	}
	worker = c.workers.edit(worker)
	worker.Runs = uint32(int(worker.Runs) + runs)
	return nil
}

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

// sectionEdit is a section that a change has looked at: before the change and, if anything in it has changed, after it.
// A new section has no before.
type sectionEdit struct {
	before, after *section
}

// handle is a run within a change.
type handle struct {
	*sectionEdit
	slot int
}

// member returns the run's current trajectory, including changes so far, for reading.
func (h handle) member() *trajectory.Trajectory {
	if h.after != nil {
		return h.after.members[h.slot]
	}
	return h.before.members[h.slot]
}

func (h handle) run() *trellisv1.Run { return h.member().Run }

// edit returns the change's copy of the run's trajectory, and of the run in it. The caller may change both.
func (h handle) edit() *trajectory.Trajectory {
	h.change()
	if stored := h.stored(h.slot); stored != nil && h.after.members[h.slot] == stored {
		h.after.members[h.slot] = stored.Clone()
	}
	return h.after.members[h.slot]
}

// change returns the change's copy of the section.
func (e *sectionEdit) change() *section {
	if e.after == nil {
		s := *e.before
		s.members = slices.Clone(s.members)
		e.after = &s
	}
	return e.after
}

// stored returns a run's trajectory before the change, or nil if the run is new.
func (e *sectionEdit) stored(slot int) *trajectory.Trajectory {
	if e.before == nil || slot >= len(e.before.members) {
		return nil
	}
	return e.before.members[slot]
}

// sectionPlace identifies a section.
type sectionPlace struct {
	catalog *catalog.Catalog
	number  uint32
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

// add adds new sections. The change owns their members.
func (e *sectionEdits) add(c *catalog.Catalog, sections []*section) {
	e.catalogs[c.Study] = c
	for _, section := range sections {
		edit := &sectionEdit{after: section}
		e.byPlace[sectionPlace{c, section.number}] = edit
		e.inOrder = append(e.inOrder, edit)
	}
}

// grow adds new members to a study, after its existing ones. The catalog already has them, and the change owns them.
func (e *sectionEdits) grow(c *catalog.Catalog, had int, members []*trajectory.Trajectory) error {
	if room := min(-had&(sectionSize-1), len(members)); room > 0 {
		last, err := e.at(c, uint32(had-1))
		if err != nil {
			return err
		}
		section := last.change()
		section.members = append(section.members, members[:room]...)
		had, members = had+room, members[room:]
	}
	sections := newSections(c.Study, members)
	for i, section := range sections {
		section.number = uint32(had/sectionSize + i)
	}
	e.add(c, sections)
	return nil
}

// find returns a run, or ErrNotFound.
func (e *sectionEdits) find(study, id string) (handle, error) {
	c, err := e.catalog(study)
	if err != nil {
		return handle{}, err
	}
	if c != nil {
		if place, ok := c.Places[id]; ok {
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
	slot, where := int(place%sectionSize), sectionPlace{c, place / sectionSize}
	if edit := e.byPlace[where]; edit != nil {
		return handle{edit, slot}, nil
	}
	stored, err := first[*section](e.reader, nil, tableSections, indexID, sectionKey(c.Study, where.number))
	if err != nil {
		return handle{}, err
	}
	edit := &sectionEdit{before: stored}
	e.byPlace[where] = edit
	e.inOrder = append(e.inOrder, edit)
	return handle{edit, slot}, nil
}
