package executor

import (
	"cmp"
	"slices"
)

// alignment of values, in float32: a cache line, like that of the block itself.
const alignment = 16

// layout assigns places in one block of memory to values that are needed for a time only. Two values share memory if
// the one is last used before the other is made.
type layout struct {
	// size of the block so far, in float32.
	size   int
	placed []place
}

type place struct{ offset, end, from, to int }

// add returns the lowest offset that is free for a value of that size from one time to another, both included. Values
// are added in the order of from.
func (l *layout) add(size, from, to int) int {
	size = (size + alignment - 1) / alignment * alignment
	offset := 0
	// By offset: the first gap that is large enough, between values that are needed at the same time.
	for _, p := range l.placed {
		if p.to < from {
			continue
		}
		if p.offset-offset >= size {
			break
		}
		offset = max(offset, p.end)
	}
	l.placed = append(l.placed, place{offset, offset + size, from, to})
	slices.SortFunc(l.placed, func(a, b place) int { return cmp.Compare(a.offset, b.offset) })
	l.size = max(l.size, offset+size)
	return offset
}
