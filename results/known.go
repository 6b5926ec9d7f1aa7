package results

import (
	"iter"

	trellisv1 "trellis/proto/trellis/v1"
)

// Known returns what is known of a run in any study, by its id: the one that has come the furthest, with all that it has told.
// Nil if no study has a run of that id, or none of them has begun.
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
			if run := member.run; run.Epochs > best.GetEpochs() {
				best = run
			}
		}
		return best, nil
	}, nil
}

// Trajectories returns a study's runs with their losses, which are nil before the first epoch, in the order in which they are
// to be leased. It can be ranged over once.
func (s *Snapshot) Trajectories(study string) (iter.Seq2[*trellisv1.Run, *trellisv1.Losses], error) {
	members, err := s.membersOf(study)
	if err != nil {
		return nil, err
	}
	return func(yield func(*trellisv1.Run, *trellisv1.Losses) bool) {
		for member := range members {
			if !yield(member.run, member.losses) {
				return
			}
		}
	}, nil
}
