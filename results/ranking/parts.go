package ranking

import (
	"encoding/binary"
	"slices"
	"sort"

	"trellis/results/listing"
)

// part is a part of a list. It has keys.
type part interface {
	first() *listing.Key
	empty() bool
}

// parts are parts of a list, in order. None is empty.
type parts[Part part] struct {
	all []Part
	// starts has the field of each part's first key. They are searched without a look at the parts, which are anywhere in
	// memory.
	starts []uint64
}

// field returns the first 8 bytes of a key, in which most keys differ.
func field(k *listing.Key) uint64 { return binary.BigEndian.Uint64(k[:]) }

// add adds a part at the end.
func (p *parts[Part]) add(its Part) {
	p.all, p.starts = append(p.all, its), append(p.starts, field(its.first()))
}

// addAll adds parts at the end.
func (p *parts[Part]) addAll(its parts[Part]) {
	p.all, p.starts = append(p.all, its.all...), append(p.starts, its.starts...)
}

// between returns some of the parts.
func (p parts[Part]) between(from, to int) parts[Part] {
	return parts[Part]{p.all[from:to], p.starts[from:to]}
}

// clone returns the parts in arrays of their own.
func (p parts[Part]) clone() parts[Part] {
	return parts[Part]{slices.Clone(p.all), slices.Clone(p.starts)}
}

// replaced returns the parts with another one in the place of one, or without it if the other one is empty.
func (p parts[Part]) replaced(at int, by Part) parts[Part] {
	with := parts[Part]{make([]Part, 0, len(p.all)), make([]uint64, 0, len(p.all))}
	with.addAll(p.between(0, at))
	if !by.empty() {
		with.add(by)
	}
	with.addAll(p.between(at+1, len(p.all)))
	return with
}

// beginsAfter says whether a part begins after a key.
func (p parts[Part]) beginsAfter(at int, k *listing.Key) bool {
	if a, b := p.starts[at], field(k); a != b {
		return a > b
	}
	return p.all[at].first().Compare(*k) > 0
}

// owner returns to which part a key belongs, among those from a place on: the last one that does not begin after it, or
// else the first.
func (p parts[Part]) owner(from int, k *listing.Key) int {
	return from + max(0, sort.Search(len(p.all)-from, func(i int) bool { return p.beginsAfter(from+i, k) })-1)
}

// with returns the parts with more keys, which are in order. insert adds a part, with the keys that belong to it, to others.
func (p parts[Part]) with(added []listing.Key, insert func(Part, []listing.Key, *parts[Part])) parts[Part] {
	with := parts[Part]{make([]Part, 0, len(p.all)+1), make([]uint64, 0, len(p.all)+1)}
	next := 0
	for len(added) > 0 {
		at := p.owner(next, &added[0])
		with.addAll(p.between(next, at))
		next = at + 1
		its := 1
		for its < len(added) && (next == len(p.all) || p.beginsAfter(next, &added[its])) {
			its++
		}
		insert(p.all[at], added[:its], &with)
		added = added[its:]
	}
	with.addAll(p.between(next, len(p.all)))
	return with
}
