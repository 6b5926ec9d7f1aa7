package results

import (
	"fmt"
	"slices"

	"github.com/hashicorp/go-memdb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// A run is trained by one worker at a time, however many studies ask for it: one that is PENDING waits while a twin of it is
// LEASED, and learns what that attempt reports. When the attempt has ended without more, the run goes on from the checkpoint
// that it has learned of. Fresh studies neither wait nor make others wait.

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
		if err != nil || twin != nil && twin.run.State == lifecycle.RunLeased {
			return false, err
		}
	}
	q.chosen[run.Id] = true
	return true, nil
}

// memberOf returns what is known of a study's run, nil if the study has no such run.
func (q *queue) memberOf(study, id string) (*member, error) {
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

// AskedEpochs returns the epochs of a run at which trials end, ascending: its own milestones, and those of the twins that learn
// from it, as far as it goes. At these its worker is to report the loss on the test images and to leave a checkpoint.
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
		if twin != nil && twin.run.State == lifecycle.RunPending {
			asked = append(asked, twin.run.Milestones...)
		}
	}
	slices.Sort(asked)
	asked = slices.Compact(asked)
	reached, _ := slices.BinarySearch(asked, run.Parameters.GetMaxEpochs()+1)
	return asked[:reached], nil
}
