package chronicle

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// maxMarks is how many commands are remembered.
const maxMarks = 8192

// Chronicle knows the times of some commands, and estimates those of the others. Later commands are not earlier. It is
// safe for concurrent use. The zero value knows none.
type Chronicle struct {
	mu sync.RWMutex
	// marks are in the order of their indexes, and neither their indexes nor their times descend.
	marks []mark
	// every is how far marks are apart, but for the last one, as far as they were noted one after the other.
	every time.Duration
}

type mark struct {
	index uint64
	at    time.Time
}

// Note remembers the time of a command. Commands are noted in order, or again.
func (c *Chronicle) Note(index uint64, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.marks)
	if n == 0 {
		c.marks = append(c.marks, mark{index, at})
		return
	}
	last := &c.marks[n-1]
	if index <= last.index {
		return
	}
	if at.Before(last.at) {
		at = last.at // Another leader's clock is behind.
	}
	// The last mark moves until it is far enough from the one before.
	if n > 1 && last.at.Sub(c.marks[n-2].at) < c.every {
		*last = mark{index, at}
		return
	}
	c.marks = append(c.marks, mark{index, at})
	if len(c.marks) > maxMarks {
		c.thin()
	}
}

// thin forgets every second command but the last.
func (c *Chronicle) thin() {
	last := c.marks[len(c.marks)-1]
	kept := c.marks[:0]
	for i := 0; i < len(c.marks)-1; i += 2 {
		kept = append(kept, c.marks[i])
	}
	c.marks = append(kept, last)
	c.every = max(2*c.every, time.Second)
}

// Add remembers the times of commands that were noted elsewhere, in any order.
func (c *Chronicle) Add(times map[uint64]time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for index, at := range times {
		c.marks = append(c.marks, mark{index, at})
	}
	slices.SortFunc(c.marks, func(a, b mark) int { return cmp.Or(cmp.Compare(a.index, b.index), a.at.Compare(b.at)) })
	c.marks = slices.CompactFunc(c.marks, func(a, b mark) bool { return a.index == b.index })
	for i := 1; i < len(c.marks); i++ {
		if c.marks[i].at.Before(c.marks[i-1].at) {
			c.marks[i].at = c.marks[i-1].at
		}
	}
	for len(c.marks) > maxMarks {
		c.thin()
	}
}

// At returns the time of a command, and by how much it may be off. known is false if the command is before all that are
// remembered.
func (c *Chronicle) At(index uint64) (at time.Time, within time.Duration, known bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	i, found := slices.BinarySearchFunc(c.marks, index, func(m mark, index uint64) int { return cmp.Compare(m.index, index) })
	switch {
	case found:
		return c.marks[i].at, 0, true
	case i == 0:
		return time.Time{}, 0, false
	case i == len(c.marks):
		return c.marks[i-1].at, 0, true
	}
	before, after := c.marks[i-1], c.marks[i]
	span := after.at.Sub(before.at)
	into := time.Duration(float64(span) * (float64(index-before.index) / float64(after.index-before.index)))
	return before.at.Add(into), max(into, span-into), true
}

// Index returns the index of the last command that is known not to be later than a time, and 0 if there is none.
func (c *Chronicle) Index(at time.Time) uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	i, _ := slices.BinarySearchFunc(c.marks, at, func(m mark, at time.Time) int {
		if m.at.After(at) {
			return 1
		}
		return -1
	})
	if i == 0 {
		return 0
	}
	return c.marks[i-1].index
}

// Last returns the time of the last command. known is false if there is none.
func (c *Chronicle) Last() (at time.Time, known bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if len(c.marks) == 0 {
		return time.Time{}, false
	}
	return c.marks[len(c.marks)-1].at, true
}
