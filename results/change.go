package results

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
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
	// dropsWeights says that the change only takes checkpoints from runs that have ended. Nothing follows from that for
	// other runs. The runs' indices stay, as these say when the runs ended.
	dropsWeights bool
}

// begin opens a transaction for the command at the given log index, proposed at now. Commit or abort ends it.
func (s *Store) begin(index uint64, now *timestamppb.Timestamp) *change {
	tables := s.tables.Load()
	if now != nil {
		tables.times.Note(index, now.AsTime())
	}
	return newChange(reader{txn: tables.db.Txn(true)}, index, now)
}

func newChange(r reader, index uint64, now *timestamppb.Timestamp) *change {
	return &change{
		reader:   r,
		index:    index,
		now:      proto.CloneOf(now),
		studies:  edits[trellisv1.Study]{reader: r, table: tableStudies, noun: "study", key: studyKey, copy: CopyStudy},
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

// RecordAndGrant is Record and then Grant, in one transaction. They have one index: nobody may see a state that has it
// without the grants. Versions of studies are told from each other by it, and who watches a study asks for what has
// changed after it.
//
// The store is corrupt if one of them fails as a whole. Then each is done alone: so the other stands.
func (s *Store) RecordAndGrant(
	index uint64, now *timestamppb.Timestamp, rules trajectory.Rules, entries []*trellisv1.RecordCommand_Entry,
	grants []*trellisv1.Grant,
) []error {
	records := s.begin(index, now)
	defer records.abort()
	records.rules = rules
	refused := records.recordAll(entries)
	err := records.settle()
	if err == nil {
		its := newChange(records.reader, index, now)
		refused = append(refused, its.grantAll(grants)...)
		err = its.commit()
	}
	if err != nil {
		records.abort()
		return append(s.Record(index, now, rules, entries), s.Grant(index, now, grants)...)
	}
	return refused
}

// abort drops the change, unless it has been committed.
func (c *change) abort() { c.txn.Abort() }

func (c *change) commit() error {
	if err := c.settle(); err != nil {
		return err
	}
	c.txn.Commit()
	return nil
}

// settle writes the change to its transaction, where the next change finds it.
func (c *change) settle() error {
	var steps []func() error
	if !c.dropsWeights {
		steps = []func() error{c.follow, c.audit, c.moveFrontiers}
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	var moves leaseMoves
	for _, section := range c.sections.inOrder {
		if section.after == nil {
			continue
		}
		if err := c.keepBooks(section); err != nil {
			return err
		}
		if err := insertSection(c.txn, section.catalog, section.before, section.after, &moves); err != nil {
			return err
		}
	}
	if err := moves.insert(c.txn); err != nil {
		return err
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
	return c.announce()
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
		if !edit.changed(slot) {
			continue
		}
		old := edit.stored(slot)
		if !c.dropsWeights {
			member.Run.ModifyIndex = c.index
		}
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

// lease is one run that a worker holds.
type lease struct {
	worker, study, run string
	place              uint32
	attempt            uint64
}

func leaseOf(run *trellisv1.Run, place uint32) *lease {
	return &lease{run.Worker, run.Study, run.Id, place, run.Attempt}
}

// leases are those of one command that have not ended, by attempt, or those of one worker, by study and run. A command
// grants and ends many: a row for each, in an index for each of both, cost as much as all that was recorded of short
// runs.
type leases struct {
	// of is the row's key.
	of  key
	its []*lease
}

// tableLeases has the leases that have not ended by the commands that have granted them, and tableHeld by their
// workers.
const (
	tableLeases = "leases"
	tableHeld   = "held"
)

func leasesSchema() *memdb.TableSchema {
	return tableSchema(tableLeases, index(indexID, func(l *leases) key { return l.of }))
}

func heldSchema() *memdb.TableSchema {
	return tableSchema(tableHeld, index(indexID, func(l *leases) key { return l.of }))
}

// commandKey is the key in tableLeases of an attempt.
func commandKey(attempt uint64) key { return numberKey(attempt / MaxGrants) }

func byAttempt(a, b *lease) int { return cmp.Compare(a.attempt, b.attempt) }

func byRun(a, b *lease) int {
	return cmp.Or(strings.Compare(a.study, b.study), strings.Compare(a.run, b.run))
}

// lease returns the lease of an attempt, or nil if it has ended.
func (r reader) lease(attempt uint64) (*lease, error) {
	row, err := first[*leases](r, nil, tableLeases, indexID, commandKey(attempt))
	if err != nil || row == nil {
		return nil, err
	}
	at, found := slices.BinarySearchFunc(row.its, &lease{attempt: attempt}, byAttempt)
	if !found {
		return nil, nil
	}
	return row.its[at], nil
}

// heldBy returns the leases of a worker, by study and run.
func (r reader) heldBy(ws memdb.WatchSet, worker string) ([]*lease, error) {
	row, err := first[*leases](r, ws, tableHeld, indexID, textKey(worker))
	if err != nil || row == nil {
		return nil, err
	}
	return row.its, nil
}

// Lease returns the grant of the run that an attempt holds, or ErrNotFound.
func (s *Snapshot) Lease(attempt uint64) (*trellisv1.Grant, error) {
	its, err := s.lease(attempt)
	if err == nil && its == nil {
		err = fmt.Errorf("attempt %d holds no run: %w", attempt, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return its.grant(), nil
}

// Leases returns the grants of the runs that are leased, or of about most of them.
func (s *Snapshot) Leases(most int) (grants []*trellisv1.Grant, err error) {
	rows, err := scan[*leases](s.reader, nil, tableLeases, indexID, nil)
	if err != nil {
		return nil, err
	}
	for row := range rows {
		for _, its := range row.its {
			grants = append(grants, its.grant())
		}
		if len(grants) >= most {
			break
		}
	}
	return grants, nil
}

func (l *lease) grant() *trellisv1.Grant {
	return &trellisv1.Grant{Study: l.study, Run: l.run, Worker: l.worker, Place: new(l.place)}
}

// RunsHeldBy returns the runs that are leased to a worker. The watch set fires when the worker gets or loses a run, not
// at every report.
func (s *Snapshot) RunsHeldBy(ws memdb.WatchSet, worker string) ([]*trellisv1.Run, error) {
	held, err := s.heldBy(ws, worker)
	if err != nil {
		return nil, err
	}
	var runs []*trellisv1.Run
	for _, lease := range held {
		c, err := s.catalog(lease.study)
		if err != nil {
			return nil, err
		}
		member, err := s.memberAt(nil, c, lease.place)
		if err != nil {
			return nil, err
		}
		runs = append(runs, member.Run)
	}
	return runs, nil
}

// leaseMoves are leases that have ended or begun.
type leaseMoves struct {
	ended, begun []*lease
}

// note takes up what has become of a run. before is nil if it is new.
func (m *leaseMoves) note(place uint32, before, after *trellisv1.Run) {
	if before.GetWorker() == after.Worker && before.GetAttempt() == after.Attempt {
		return
	}
	if before.GetWorker() != "" {
		m.ended = append(m.ended, leaseOf(before, place))
	}
	if after.Worker != "" {
		m.begun = append(m.begun, leaseOf(after, place))
	}
}

// insert updates the tables of leases.
func (m *leaseMoves) insert(txn *memdb.Txn) error {
	err := m.insertBy(txn, tableLeases, func(l *lease) key { return commandKey(l.attempt) }, byAttempt)
	if err != nil {
		return err
	}
	return m.insertBy(txn, tableHeld, func(l *lease) key { return textKey(l.worker) }, byRun)
}

// insertBy updates a table of rows with a key, in each of which leases have an order.
func (m *leaseMoves) insertBy(txn *memdb.Txn, table string, of func(*lease) key, order func(a, b *lease) int) error {
	var changed []*leases
	byKey := map[string]*leases{}
	rowOf := func(l *lease) (*leases, error) {
		k := of(l)
		if row := byKey[string(k)]; row != nil {
			return row, nil
		}
		stored, err := first[*leases](reader{txn: txn}, nil, table, indexID, k)
		if err != nil {
			return nil, err
		}
		row := &leases{of: k}
		if stored != nil {
			row.its = slices.Clone(stored.its)
		}
		byKey[string(k)], changed = row, append(changed, row)
		return row, nil
	}
	for _, l := range m.ended {
		row, err := rowOf(l)
		if err != nil {
			return err
		}
		at, found := slices.BinarySearchFunc(row.its, l, order)
		if !found {
			return fmt.Errorf("end attempt %d at run %s of study %q: not in table %s", l.attempt, l.run, l.study, table)
		}
		row.its = slices.Delete(row.its, at, at+1)
	}
	for _, l := range m.begun {
		row, err := rowOf(l)
		if err != nil {
			return err
		}
		at, _ := slices.BinarySearchFunc(row.its, l, order)
		row.its = slices.Insert(row.its, at, l)
	}
	for _, row := range changed {
		write := insert
		if len(row.its) == 0 {
			write = remove
		}
		if err := write(txn, table, row); err != nil {
			return err
		}
	}
	return nil
}
