package results

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/hashicorp/go-memdb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// A run's id is the hash of all that determines its digits, so that runs of the same id in different studies, twins,
// have the same losses bit for bit. The rule is: what any study has recorded of a run, every study that asks for it
// has, as far as it asks. It is kept by every change as it is committed: a run that is PENDING takes over what its
// twins know beyond it, and may thereby come to its end. A run that is LEASED is being told by its worker, and one that
// has ended is left alone, so that nothing that happens to one study takes anything from another. Studies that are
// fresh take nothing over.

// twin is a run of a change, and the study that it belongs to.
type twin struct {
	handle
	relative
}

// takes says whether the run is to take over what its twins know.
func (t twin) takes() bool { return !t.fresh && t.run().State == lifecycle.RunPending }

// share lets the twins of all runs that the change has brought on, or made PENDING, take over what there is.
func (c *change) share() error {
	// Those that take over here have nothing new to tell, so that sections which come to the change meanwhile are left
	// out.
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
			if !concernsTwins(edit.stored(slot), now) {
				continue
			}
			if err := c.shareRun(its, now.Run.Id); err != nil {
				return fmt.Errorf("share run %s of study %s: %w", now.Run.Id, its.study, err)
			}
		}
	}
	return nil
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

// concernsTwins says whether a change of a run is one that its twins may learn from, or by which it may learn from
// them.
func concernsTwins(before, after *trajectory.Trajectory) bool {
	if before == after {
		return false
	}
	return before == nil || before.Losses != after.Losses || len(before.Run.Milestones) != len(after.Run.Milestones) ||
		before.Run.State != after.Run.State && after.Run.State != lifecycle.RunLeased ||
		!slices.Equal(before.Run.Checkpoints, after.Run.Checkpoints)
}

// twins returns the runs of an id in a family of studies, those of the oldest study first.
func (c *change) twins(its *relatives, id string) ([]twin, error) {
	var twins []twin
	for _, relative := range its.family {
		catalog, err := c.sections.catalog(relative.study)
		if err != nil {
			return nil, err
		}
		place, ok := catalog.places[id]
		if !ok {
			continue
		}
		run, err := c.sections.at(catalog, place)
		if err != nil {
			return nil, err
		}
		twins = append(twins, twin{run, relative})
	}
	return twins, nil
}

// shareRun brings the runs of an id that are to take over to what all of them together know.
func (c *change) shareRun(its *relatives, id string) error {
	twins, err := c.twins(its, id)
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

// sources are twins in the order in which they are to be asked: those that know most first, among these the ones that
// were trained rather than have taken over themselves, and then the oldest.
func sources(twins []twin) []twin {
	sorted := slices.Clone(twins)
	slices.SortStableFunc(sorted, func(a, b twin) int {
		return cmp.Or(cmp.Compare(b.run().Epochs, a.run().Epochs),
			cmp.Compare(a.run().SharedEpochs, b.run().SharedEpochs))
	})
	return sorted
}

// takeOver gives a PENDING run what is known of its twin beyond it: see Trajectory.Learn.
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

// Known returns what is known of a run in any study, by its id: the one that has come the furthest, with all that it
// has told. Nil if no study has a run of that id, or none of them has begun.
type Known func(id string) (*trellisv1.Run, error)

// Known returns a query for what studies know of runs. It is to be used by one goroutine.
func (s *Snapshot) Known() (Known, error) {
	catalogs, err := all[*catalog](s.reader, nil, tableCatalogs, indexID, nil)
	if err != nil {
		return nil, err
	}
	return func(id string) (*trellisv1.Run, error) {
		var best *trellisv1.Run
		for _, catalog := range catalogs {
			place, ok := catalog.places[id]
			if !ok {
				continue
			}
			member, err := s.memberAt(nil, catalog.study, place)
			if err != nil {
				return nil, err
			}
			if run := member.Run; run.Epochs > best.GetEpochs() {
				best = run
			}
		}
		return best, nil
	}, nil
}

// A run is trained by one worker at a time, however many studies ask for it: one that is PENDING waits while a twin of
// it is LEASED, and learns what that attempt reports. When the attempt has ended without more, the run goes on from the
// checkpoint that it has learned of. Fresh studies neither wait nor make others wait.

// checkNotTrained refuses a grant of a run while a twin of it is being trained.
func (c *change) checkNotTrained(study, id string) error {
	its, err := c.familyOf(study)
	if err != nil || its == nil || its.is(study).fresh {
		return err
	}
	twins, err := c.twins(its, id)
	if err != nil {
		return err
	}
	for _, twin := range twins {
		if !twin.fresh && twin.study != study && twin.run().State == lifecycle.RunLeased {
			return fmt.Errorf("worker %s trains it for study %s: %w", twin.run().Worker, twin.study, ErrIllegalMove)
		}
	}
	return nil
}

// queue tells which PENDING runs of a query's answer have to wait for their twins.
type queue struct {
	reader
	ws memdb.WatchSet
	// chosen are the ids of runs that are in the answer already.
	chosen   map[string]bool
	catalogs map[string]*catalog
}

func newQueue(r reader, ws memdb.WatchSet) *queue {
	return &queue{reader: r, ws: ws, chosen: map[string]bool{}, catalogs: map[string]*catalog{}}
}

// admits says whether a study's run may be the next: nil relatives are those of a study that has none.
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
		twin, err := q.memberOf(other.study, run.Id)
		if err != nil || twin != nil && twin.Run.State == lifecycle.RunLeased {
			return false, err
		}
	}
	return true, nil
}

// choose puts a run that has been admitted into the answer.
func (q *queue) choose(its *relatives, run *trellisv1.Run) {
	if its != nil && !its.is(run.Study).fresh {
		q.chosen[run.Id] = true
	}
}

// memberOf returns what is known of a study's run, nil if the study has no such run.
func (q *queue) memberOf(study, id string) (*trajectory.Trajectory, error) {
	its := q.catalogs[study]
	if its == nil {
		found, err := first[*catalog](q.reader, q.ws, tableCatalogs, indexID, textKey(study))
		if err != nil || found == nil {
			return nil, err
		}
		its, q.catalogs[study] = found, found
	}
	place, ok := its.places[id]
	if !ok {
		return nil, nil
	}
	return q.memberAt(q.ws, study, place)
}

// AskedEpochs returns the epochs of a run at which trials end, ascending: its own milestones, and those of the twins
// that learn from it, as far as it goes. At these its worker is to report the loss on the test images and to leave a
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
		twin, err := twins.memberOf(other.study, run.Id)
		if err != nil {
			return nil, fmt.Errorf("find what other studies ask of run %s of study %s: %w", run.Id, run.Study, err)
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
