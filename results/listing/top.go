package listing

import (
	"bytes"
	"encoding/binary"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
)

// Top keeps the first trials of those that are added, in the order of their keys.
type Top struct {
	// Size is how many trials are kept.
	Size int
	kept []placedTrial
}

type placedTrial struct {
	key   Key
	trial *trellisv1.Trial
}

// NewTop returns an empty list that keeps size trials, and one more to know whether there are more.
func NewTop(size int) *Top {
	return &Top{Size: size, kept: make([]placedTrial, 0, 4*size)}
}

// AddAfter adds a trial if its key is above after, and counts it if it also has a finite objective, with which the key
// begins.
func (t *Top) AddAfter(after []byte, k Key, trial *trellisv1.Trial) (finite int) {
	if bytes.Compare(k[:], after) <= 0 {
		return 0
	}
	t.Add(k, trial)
	if binary.BigEndian.Uint64(k[:]) == missing {
		return 0
	}
	return 1
}

// Add adds a trial by its key.
func (t *Top) Add(k Key, trial *trellisv1.Trial) {
	if len(t.kept) == cap(t.kept) {
		t.sort()
		t.kept = t.kept[:t.Size+1]
	}
	t.kept = append(t.kept, placedTrial{k, trial})
}

// Last returns the key from which on nothing that is added is kept. ok is false while there is room.
func (t *Top) Last() (last Key, ok bool) {
	if len(t.kept) <= t.Size {
		return last, false
	}
	t.sort()
	t.kept = t.kept[:t.Size+1]
	return t.kept[t.Size].key, true
}

func (t *Top) sort() {
	slices.SortFunc(t.kept, func(a, b placedTrial) int { return bytes.Compare(a.key[:], b.key[:]) })
}

// Trials returns the first size trials, and whether there are more.
func (t *Top) Trials() ([]*trellisv1.Trial, bool) {
	t.sort()
	more := len(t.kept) > t.Size
	var trials []*trellisv1.Trial
	for _, placed := range t.kept[:min(len(t.kept), t.Size)] {
		trials = append(trials, placed.trial)
	}
	return trials, more
}
