package results

import (
	"fmt"
	"iter"
	"slices"

	"github.com/hashicorp/go-memdb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/catalog"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// A study may have a million runs. So they are not rows of a table, each with an entry in every index. Instead they are
// stored in sections: a section is a row with the trajectories of 64 runs. An entry in an index of go-memdb costs about
// 400 bytes and a microsecond, and sections divide this by 64. A study's catalog says in which section a run is, and
// where.

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
	members                   []*trajectory.Trajectory
}

// tableCatalogs has, by study, which runs and trials it has.
const tableCatalogs = "catalogs"

func catalogsSchema() *memdb.TableSchema {
	return tableSchema(tableCatalogs, index(indexID, func(c *catalog.Catalog) key { return textKey(c.Study) }))
}

// newCatalog returns a catalog of runs whose ids can be parts of keys: see catalog.New.
func newCatalog(study string, runs []*trellisv1.Run) (*catalog.Catalog, error) {
	for _, run := range runs {
		if err := validName(run.GetId()); err != nil {
			return nil, fmt.Errorf("run %s: %w", run.Id, err)
		}
	}
	return catalog.New(study, runs)
}

// tableSections has, by study and place, its runs, trials and losses.
const tableSections = "sections"

func sectionsSchema() *memdb.TableSchema {
	return tableSchema(tableSections, index(indexID, func(s *section) key { return sectionKey(s.study, s.number) }))
}

func sectionKey(study string, number uint32) key {
	return newKey(len(study) + 5).text(study).number32(number)
}

// newSections divides the members of a study into sections.
func newSections(study string, members []*trajectory.Trajectory) (sections []*section) {
	for part := range slices.Chunk(members, sectionSize) {
		s := &section{study: study, number: uint32(len(sections)), members: slices.Clip(part)}
		for slot, member := range s.members {
			s.note(slot, member)
		}
		sections = append(sections, s)
	}
	return sections
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

// waiting says which runs of a section are PENDING, or are to be audited, if there are any. Each has a table of its own,
// so that those who wait for such runs are not woken by every report.
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

// lease is one run that a worker holds.
type lease struct{ worker, study, run string }

// tableLeases has the runs that workers hold, by worker.
const tableLeases = "leases"

func leasesSchema() *memdb.TableSchema {
	return tableSchema(tableLeases, index(indexID, func(l *lease) key {
		return newKey(len(l.worker) + len(l.study) + len(l.run) + 3).text(l.worker).text(l.study).text(l.run)
	}))
}

// insertSection stores a section and the rows derived from it. before is the section that it replaces, or nil.
func insertSection(txn *memdb.Txn, before, after *section) error {
	if err := insert(txn, tableSections, after); err != nil {
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
		if slot < len(before.members) {
			if before.members[slot] == member {
				continue
			}
			old = before.members[slot].Run
		}
		if err := moveLease(txn, old, member.Run); err != nil {
			return err
		}
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

// moveLease updates the table of leases after a run has changed.
func moveLease(txn *memdb.Txn, before, after *trellisv1.Run) error {
	if before.GetWorker() == after.Worker {
		return nil
	}
	if before.GetWorker() != "" {
		if err := remove(txn, tableLeases, &lease{before.Worker, before.Study, before.Id}); err != nil {
			return err
		}
	}
	if after.Worker != "" {
		return insert(txn, tableLeases, &lease{after.Worker, after.Study, after.Id})
	}
	return nil
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

// membersOf returns the trajectories of a study's runs, or of all studies' runs if study is empty, in the order of
// places.
func (r reader) membersOf(study string) (iter.Seq[*trajectory.Trajectory], error) {
	sections, err := r.sectionsOf(study)
	if err != nil {
		return nil, err
	}
	return func(yield func(*trajectory.Trajectory) bool) {
		for section := range sections {
			for _, member := range section.members {
				if !yield(member) {
					return
				}
			}
		}
	}, nil
}

// memberAt returns the trajectory of the run at a place, or nil if there is none. The watch set fires when anything in
// its section changes.
func (r reader) memberAt(ws memdb.WatchSet, study string, place uint32) (*trajectory.Trajectory, error) {
	section, err := first[*section](r, ws, tableSections, indexID, sectionKey(study, place/sectionSize))
	if err != nil || section == nil || int(place%sectionSize) >= len(section.members) {
		return nil, err
	}
	return section.members[place%sectionSize], nil
}

// member returns the trajectory of a run, or ErrNotFound.
func (r reader) member(ws memdb.WatchSet, study, id string) (*trajectory.Trajectory, error) {
	catalog, err := first[*catalog.Catalog](r, ws, tableCatalogs, indexID, textKey(study))
	if err != nil {
		return nil, err
	}
	if catalog != nil {
		if place, ok := catalog.Places[id]; ok {
			return r.memberAt(ws, study, place)
		}
	}
	return nil, ErrNotFound
}
