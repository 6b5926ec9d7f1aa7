package results

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/catalog"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// A run's id is the hash of everything that determines its results bit for bit. So runs with the same id in different
// studies, called twins, have the same losses. The rule is: what any study has recorded of a run, every study with that
// run has too, as far as it needs it. Every change applies this rule when it is committed: a PENDING run copies the
// epochs that its twins have beyond it, and may end thereby. A LEASED run gets its epochs from its worker, and a run
// that has ended is left alone, so nothing that happens to one study takes anything from another. Fresh studies copy
// nothing.

// twin is a run of a change, and the study that it belongs to.
type twin struct {
	handle
	relative
}

// takes says whether the run copies epochs of its twins.
func (t twin) takes() bool { return !t.fresh && t.run().State == lifecycle.RunPending }

// share shares epochs among the twins of all runs that have got new epochs in this change, or have become PENDING.
func (c *change) share() error {
	// Runs that copy epochs here have nothing new to share. So sections that are added to the change in this loop are
	// skipped.
	for _, edit := range c.sections.inOrder {
		if edit.after == nil {
			continue
		}
		its, err := c.familyOf(edit.after.study)
		if err != nil {
			return err
		}
		if its == nil {
			continue
		}
		for slot, now := range edit.after.members {
			if !edit.changed(slot) || !concernsTwins(edit.stored(slot), now) {
				continue
			}
			if err := c.shareRun(its, now.Run); err != nil {
				return fmt.Errorf("share run %s of study %q: %w", now.Run.Id, its.study, err)
			}
		}
	}
	return nil
}

// sharedAtOnce is how much is done in one command, at most, to give a study what others have of its runs: a run that is
// looked at counts once, and one that may learn something as often as it takes longer.
var (
	sharedAtOnce = 8192 // Tests set it to less.
	learningRun  = 16
)

// shareTouched gives a study what others have of its untouched runs: those of it that others have, or those of others that it
// has, whatever is less to look at. If that is too much for a command, and the study may share in parts, the runs of the base
// from a place on are shared by later commands.
func (c *change) shareTouched(its *catalog.Catalog, from uint32, inParts bool) error {
	family, err := c.familyOf(its.Study)
	if err != nil || family == nil || family.is(its.Study).fresh {
		return err
	}
	sections := 0
	for _, relative := range family.family {
		of, err := c.sectionsOf(relative.study)
		if err != nil {
			return err
		}
		for range of {
			sections++
		}
	}
	if inParts && min(its.Runs(), sections*sectionSize)*learningRun > sharedAtOnce {
		return c.shareLater(its, from)
	}
	if its.Runs() < sections {
		return c.shareOwn(family, its)
	}
	for _, relative := range family.family {
		if relative.study == its.Study {
			continue
		}
		touched, err := c.touchedOf(relative.study)
		if err != nil {
			return err
		}
		for member := range touched {
			if member.Run.Epochs == 0 {
				continue
			}
			if err := c.shareRun(family, member.Run); err != nil {
				return fmt.Errorf("share run %s of study %q: %w", member.Run.Id, relative.study, err)
			}
		}
	}
	return nil
}

// shareOwn gives the runs of a study's base what others have of them.
func (c *change) shareOwn(family *relatives, its *catalog.Catalog) error {
	for place := range its.BaseRuns() {
		h, err := c.sections.at(its, place)
		if err != nil {
			return err
		}
		if err := c.shareRun(family, h.run()); err != nil {
			return fmt.Errorf("share run %s of study %q: %w", h.run().Id, its.Study, err)
		}
	}
	return nil
}

// shareLater has a study share from a place on, or from the lower one at which it is already.
func (c *change) shareLater(its *catalog.Catalog, from uint32) error {
	study, err := c.studies.get(textKey(its.Study))
	if err != nil {
		return err
	}
	next := from / sectionSize
	if study.Sharing != nil {
		next = min(next, study.Sharing.NextSection)
	}
	c.studies.edit(study).Sharing = &trellisv1.Sharing{NextSection: next}
	return nil
}

// ShareRuns gives the next runs of a study that shares in parts what other studies have of them. created is the study's
// create_index. It fails with ErrNotFound, and with ErrIllegalMove if the study is another one, or if the section is not
// the next.
func (s *Store) ShareRuns(index uint64, now *timestamppb.Timestamp, name string, created uint64, next uint32) error {
	c := s.begin(index, now)
	defer c.abort()
	if err := c.shareRuns(name, created, next); err != nil {
		return refusal("share the runs of", name, err)
	}
	return c.commit()
}

func (c *change) shareRuns(name string, created uint64, next uint32) error {
	study, err := c.studies.get(textKey(name))
	if err != nil {
		return err
	}
	if study.CreateIndex != created || study.Sharing == nil || study.Sharing.NextSection != next {
		return fmt.Errorf("section %d is not the next: %w", next, ErrIllegalMove)
	}
	its, err := c.sections.catalog(name)
	if err != nil {
		return err
	}
	family, err := c.familyOf(name)
	if err != nil {
		return err
	}
	study = c.studies.edit(study)
	study.Sharing = nil
	for done := 0; family != nil && next*sectionSize < its.BaseRuns(); next++ {
		if done >= sharedAtOnce {
			study.Sharing = &trellisv1.Sharing{NextSection: next}
			break
		}
		more, err := c.shareSection(family, its, next)
		if err != nil {
			return err
		}
		done += more
	}
	return nil
}

// shareSection gives the runs of a section what others have of them, and returns how much was done.
func (c *change) shareSection(family *relatives, its *catalog.Catalog, number uint32) (done int, err error) {
	first := number * sectionSize
	for place := first; place < min(first+sectionSize, its.BaseRuns()); place++ {
		h, err := c.sections.at(its, place)
		if err != nil {
			return done, err
		}
		run := h.run()
		touched, err := c.touchedElsewhere(family, run)
		if err != nil {
			return done, err
		}
		if done++; !touched {
			continue
		}
		done += learningRun
		if err := c.shareRun(family, run); err != nil {
			return done, fmt.Errorf("share run %s of study %q: %w", run.Id, its.Study, err)
		}
	}
	return done, nil
}

// touchedElsewhere says whether a section of another study that may have a twin of a run has been touched.
func (c *change) touchedElsewhere(family *relatives, run *trellisv1.Run) (bool, error) {
	for _, relative := range family.family {
		if relative.study == run.Study {
			continue
		}
		its, err := c.sections.catalog(relative.study)
		if err != nil {
			return false, err
		}
		if place, ok := its.Twin(run); ok {
			if there, err := c.hasSection(relative.study, place/sectionSize); err != nil || there {
				return there, err
			}
		}
	}
	return false, nil
}

// awaitsSharing says whether the runs of a section may not be leased yet, as what others have of them is not known.
func awaitsSharing(study *trellisv1.Study, c *catalog.Catalog, section uint32) bool {
	return study.GetSharing() != nil && section >= study.Sharing.NextSection && c.InBase(section*sectionSize)
}

// familyOf returns a study's relatives, nil if it has none.
func (c *change) familyOf(study string) (*relatives, error) {
	its, looked := c.family[study]
	if looked {
		return its, nil
	}
	its, err := c.relativesOf(study)
	c.family[study] = its
	return its, err
}

// concernsTwins says whether, after the change of a run, its twins may copy epochs from it, or it may copy epochs from
// them.
func concernsTwins(before, after *trajectory.Trajectory) bool {
	return before == nil || before.Losses != after.Losses || len(before.Run.Milestones) != len(after.Run.Milestones) ||
		before.Run.State != after.Run.State && after.Run.State != lifecycle.RunLeased ||
		(before.Run.Dispute == nil) != (after.Run.Dispute == nil) ||
		!slices.Equal(before.Run.Checkpoints, after.Run.Checkpoints)
}

// twins returns the runs with the id of a run in a family of studies, that of the oldest study first.
func (c *change) twins(its *relatives, of *trellisv1.Run) ([]twin, error) {
	var twins []twin
	for _, relative := range its.family {
		catalog, err := c.sections.catalog(relative.study)
		if err != nil {
			return nil, err
		}
		place, ok := catalog.Twin(of)
		if !ok {
			continue
		}
		run, err := c.sections.at(catalog, place)
		if err != nil {
			return nil, err
		}
		if run.run().Id != of.Id {
			continue
		}
		twins = append(twins, twin{run, relative})
	}
	return twins, nil
}

// shareRun gives all runs with the id of a run that may copy epochs what all of them together have.
func (c *change) shareRun(its *relatives, run *trellisv1.Run) error {
	twins, err := c.twins(its, run)
	if err != nil || len(twins) < 2 {
		return err
	}
	for _, to := range twins {
		if !to.takes() {
			continue
		}
		for _, from := range sources(twins) {
			if from.study == to.study {
				continue
			}
			if err := c.takeOver(to.handle, from.member()); err != nil {
				return err
			}
			if !to.takes() {
				break
			}
		}
	}
	return nil
}

// sources returns twins in the order in which to copy from them: those with the most epochs first, among these those
// that trained the epochs rather than copied them, and then the oldest.
func sources(twins []twin) []twin {
	sorted := slices.Clone(twins)
	slices.SortStableFunc(sorted, func(a, b twin) int {
		return cmp.Or(cmp.Compare(b.run().Epochs, a.run().Epochs),
			cmp.Compare(a.run().SharedEpochs, b.run().SharedEpochs))
	})
	return sorted
}

// takeOver gives a PENDING run the epochs that its twin has beyond it: see Trajectory.Learn.
func (c *change) takeOver(to handle, from *trajectory.Trajectory) error {
	if !to.member().Learns(from) {
		return nil
	}
	edited := to.edit()
	indexes, err := c.indexesOf(edited.Run)
	if err != nil {
		return err
	}
	edited.Learn(from, indexes)
	return nil
}

// Sharing returns which runs those studies have that share what they know, in the order of their names.
func (s *Snapshot) Sharing() (sharing []*catalog.Catalog, err error) {
	catalogs, err := all[*catalog.Catalog](s.reader, nil, tableCatalogs, indexID, nil)
	if err != nil {
		return nil, err
	}
	for _, its := range catalogs {
		study, err := s.Study(nil, its.Study)
		if err != nil {
			return nil, err
		}
		if shares(study) {
			sharing = append(sharing, its)
		}
	}
	return sharing, nil
}

// Known returns, of all runs with the id of a run in some studies, the one with the most epochs, nil if none has any. Runs that
// are disputed share nothing.
func (s *Snapshot) Known(of *trellisv1.Run, in []*catalog.Catalog) (best *trajectory.Trajectory, err error) {
	epochs := uint32(0)
	for _, its := range in {
		place, ok := its.Twin(of)
		if !ok {
			continue
		}
		member, err := s.memberAt(nil, its, place)
		if err != nil {
			return nil, err
		}
		if run := member.Run; run.Id == of.Id && run.Dispute == nil && run.Epochs > epochs {
			best, epochs = member, run.Epochs
		}
	}
	return best, nil
}

// Only one worker at a time trains a run, no matter how many studies have it. A PENDING run waits while a twin is
// LEASED, and copies what that attempt reports. When the attempt has ended and the run still needs more epochs, it
// continues from the checkpoint that it has copied. Fresh studies neither wait nor make others wait.

// checkNotTrained returns an error if a twin of the study's run is being trained.
func (c *change) checkNotTrained(study string, run *trellisv1.Run) error {
	its, err := c.familyOf(study)
	if err != nil || its == nil || its.is(study).fresh {
		return err
	}
	twins, err := c.twins(its, run)
	if err != nil {
		return err
	}
	for _, twin := range twins {
		if !twin.fresh && twin.study != study && twin.run().State == lifecycle.RunLeased {
			return fmt.Errorf("worker %q trains it for study %q: %w", twin.run().Worker, twin.study, ErrIllegalMove)
		}
	}
	return nil
}

// queue decides which PENDING runs of a query must wait for their twins.
type queue struct {
	reader
	ws memdb.WatchSet
	// chosen has the ids of runs that the query has already returned.
	chosen   map[string]bool
	catalogs map[string]*catalog.Catalog
}

func newQueue(r reader, ws memdb.WatchSet) *queue {
	return &queue{reader: r, ws: ws, chosen: map[string]bool{}, catalogs: map[string]*catalog.Catalog{}}
}

// admits says whether a study's run may be the next. its is nil for a study without relatives.
func (q *queue) admits(its *relatives, run *trellisv1.Run) (bool, error) {
	if its == nil || its.is(run.Study).fresh {
		return true, nil
	}
	if q.chosen[run.Id] {
		return false, nil
	}
	for _, other := range its.family {
		if other.fresh || other.study == run.Study {
			continue
		}
		twin, err := q.twinIn(other.study, run)
		if err != nil || twin != nil && twin.Run.State == lifecycle.RunLeased {
			return false, err
		}
	}
	return true, nil
}

// choose records that an admitted run is returned.
func (q *queue) choose(its *relatives, run *trellisv1.Run) {
	if its != nil && !its.is(run.Study).fresh {
		q.chosen[run.Id] = true
	}
}

// twinIn returns the trajectory of a run's twin in a study, or nil if the study has none.
func (q *queue) twinIn(study string, of *trellisv1.Run) (*trajectory.Trajectory, error) {
	its := q.catalogs[study]
	if its == nil {
		found, err := first[*catalog.Catalog](q.reader, q.ws, tableCatalogs, indexID, textKey(study))
		if err != nil || found == nil {
			return nil, err
		}
		its, q.catalogs[study] = found, found
	}
	place, ok := its.Twin(of)
	if !ok {
		return nil, nil
	}
	member, err := q.memberAt(q.ws, its, place)
	if err != nil || member.Run.Id != of.Id {
		return nil, err
	}
	return member, nil
}

// AskedEpochs returns the epochs of a run at which trials end, ascending: its own milestones, and those of twins that
// copy from it, up to the run's end. At these epochs, its worker must report the loss on the test images and save a
// checkpoint.
func (s *Snapshot) AskedEpochs(run *trellisv1.Run) ([]uint32, error) {
	its, err := s.relativesOf(run.Study)
	if err != nil || its == nil {
		return run.Milestones, err
	}
	asked := slices.Clone(run.Milestones)
	twins := newQueue(s.reader, nil)
	for _, other := range its.family {
		if other.fresh || other.study == run.Study {
			continue
		}
		twin, err := twins.twinIn(other.study, run)
		if err != nil {
			return nil, fmt.Errorf("find the milestones of run %s of study %q in other studies: %w", run.Id, run.Study, err)
		}
		if twin != nil && twin.Run.State == lifecycle.RunPending {
			asked = append(asked, twin.Run.Milestones...)
		}
	}
	slices.Sort(asked)
	asked = slices.Compact(asked)
	reached, _ := slices.BinarySearch(asked, run.Parameters.GetMaxEpochs()+1)
	return asked[:reached], nil
}
