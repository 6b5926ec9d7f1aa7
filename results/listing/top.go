package listing

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
)

// Top keeps the first trials of those that are added, in the order of their keys.
type Top struct {
	// Size is how many trials are kept.
	Size int
	kept []placedTrial
	// bound is the last of those that are kept for certain.
	bound Place
	// skip is how many trials come before those that are kept. If any do, all has the places of all trials.
	skip uint64
	all  []Place
}

// end is behind all places.
var end = Place{math.MaxUint64, math.MaxUint64, math.MaxUint64}

type placedTrial struct {
	key   Key
	trial *trellisv1.Trial
}

// NewTop returns an empty list that keeps size trials, and one more to know whether there are more.
func NewTop(size int) *Top {
	return &Top{Size: size, kept: make([]placedTrial, 0, 4*size+4), bound: end}
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
	if t.skip > 0 {
		t.all = append(t.all, k.Place())
		return
	}
	if len(t.kept) == cap(t.kept) {
		t.sort()
		t.cut()
	}
	t.kept = append(t.kept, placedTrial{k, trial})
}

// Offer adds a trial that will be read when it is on the page: see Trials.
func (t *Top) Offer(at Place) {
	if t.skip > 0 {
		t.all = append(t.all, at)
		return
	}
	t.Add(at.Key(), nil)
}

// Bound is a place from which on nothing that is added is kept. Last may know a closer one, but takes longer.
func (t *Top) Bound() Place { return t.bound }

// cut drops what is beyond the page, once it is sorted.
func (t *Top) cut() {
	t.kept = t.kept[:t.Size+1]
	t.bound = t.kept[t.Size].key.Place()
}

// Last returns the key from which on nothing that is added is kept. ok is false while there is room.
func (t *Top) Last() (last Key, ok bool) {
	if len(t.kept) <= t.Size {
		return last, false
	}
	t.sort()
	t.cut()
	return t.kept[t.Size].key, true
}

func (t *Top) sort() {
	slices.SortFunc(t.kept, func(a, b placedTrial) int { return bytes.Compare(a.key[:], b.key[:]) })
}

// Trials returns the first size trials, and whether there are more. Those that were offered have nothing but their indexes.
func (t *Top) Trials() ([]*trellisv1.Trial, bool) {
	if t.skip > 0 {
		places, more := t.page()
		trials := make([]*trellisv1.Trial, len(places))
		for i, at := range places {
			trials[i] = &trellisv1.Trial{Index: at.Index}
		}
		return trials, more
	}
	t.sort()
	more := len(t.kept) > t.Size
	var trials []*trellisv1.Trial
	for _, placed := range t.kept[:min(len(t.kept), t.Size)] {
		trial := placed.trial
		if trial == nil {
			trial = &trellisv1.Trial{Index: placed.key.Index()}
		}
		trials = append(trials, trial)
	}
	return trials, more
}
