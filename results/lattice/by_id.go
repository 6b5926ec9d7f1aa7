package lattice

import (
	"bytes"
	"encoding/hex"
	"slices"
)

// Identified is the place of a run, and its id in binary.
type Identified struct {
	ID    [16]byte
	Place uint32
}

// String returns the id as runs have it.
func (i Identified) String() string { return hex.EncodeToString(i.ID[:]) }

// ByID returns the places of all runs in the order of their ids. It computes them on all cores.
func (l *Lattice) ByID() []Identified {
	all := make([]Identified, l.Runs())
	indexOf := func(place int) uint64 { return l.firstIndex(uint32(place)) }
	l.idsOf(len(all), indexOf, func(place int, id string) { all[place] = Identified{idBytes(id), uint32(place)} })
	slices.SortFunc(all, func(a, b Identified) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return all
}
