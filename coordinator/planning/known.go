package planning

import (
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/catalog"
	"trellis/results/lattice"
	"trellis/results/trajectory"
)

// known finds what other studies have trained of the runs of a study that there is not yet.
type known struct {
	snapshot *results.Snapshot
	its      *lattice.Lattice
	// others are the studies that may have runs in common with it, in the order of their names.
	others []*catalog.Catalog
	// touched is how many of their runs have been touched, at most.
	touched int
}

// findKnown looks for studies that may have runs in common with one. They need not use what others have.
func findKnown(snapshot *results.Snapshot, its *lattice.Lattice) (*known, error) {
	k := &known{snapshot: snapshot, its: its}
	sharing, err := snapshot.Sharing()
	if err != nil {
		return nil, err
	}
	for _, other := range sharing {
		if !other.ListsRuns() && !other.Base.MayShare(its) {
			continue
		}
		sections, err := snapshot.Sections(other)
		if err != nil {
			return nil, err
		}
		for section := range sections {
			k.touched += section.Size()
		}
		k.others = append(k.others, other)
	}
	return k, nil
}

// each calls yield for the runs of which other studies have epochs, in the order of their places, with what the study that has
// the most knows. It looks at the runs that others have touched, or at the study's own, whatever is less.
func (k *known) each(yield func(run *trellisv1.Run, from *trajectory.Trajectory) error) error {
	places := func(yield func(uint32) bool) {
		for place := range k.its.Runs() {
			if !yield(place) {
				return
			}
		}
	}
	if k.touched < int(k.its.Runs()) {
		found, err := k.find()
		if err != nil {
			return err
		}
		places = slices.Values(found)
	}
	for place := range places {
		if err := k.snapshot.Err(); err != nil {
			return err
		}
		run := k.its.Run(place)
		from, err := k.snapshot.Known(run, k.others)
		if err == nil && from != nil {
			err = yield(run, from)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// find returns the places of the runs that other studies may have epochs of, in their order.
func (k *known) find() (places []uint32, err error) {
	for _, other := range k.others {
		sections, err := k.snapshot.Sections(other)
		if err != nil {
			return nil, err
		}
		for section := range sections {
			for _, member := range section.Trajectories() {
				if member == nil || member.Run.GetEpochs() == 0 {
					continue
				}
				if place, ok := k.its.PlaceOf(member.Run.GetParameters()); ok {
					places = append(places, place)
				}
			}
		}
	}
	slices.Sort(places)
	return slices.Compact(places), k.snapshot.Err()
}
