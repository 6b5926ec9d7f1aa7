package catalog

import (
	"math/bits"
	"strconv"
	"sync/atomic"

	trellisv1 "trellis/proto/trellis/v1"
)

// recent remembers the places of runs that somebody has looked at lately, by their ids. Who asks for a run by its id has
// mostly got the id from the store just before, and it takes long to find a run by it alone: the ids of all runs of the
// base have to be computed. Entries may be lost, and are only hints: what they say is checked.
type recent struct {
	// places has the places plus one, by the first bits of the ids.
	places []atomic.Uint32
	// first is how many bits of an id count.
	first int
	// runs are the last runs themselves, by the last bits of their places: who has found a run to train soon grants it, and to
	// compute its id takes longer than the rest. Nobody changes them.
	runs []atomic.Pointer[trellisv1.Run]
}

// maxRecent is how many bits of an id count at most: 16,384 runs are remembered.
const maxRecent = 14

// recentRuns is how many runs are kept at most, a power of two.
const recentRuns = 1 << 10

func newRecent(runs uint32) *recent {
	first := min(bits.Len32(runs), maxRecent)
	return &recent{
		places: make([]atomic.Uint32, 1<<first), first: first,
		runs: make([]atomic.Pointer[trellisv1.Run], min(1<<first, recentRuns)),
	}
}

// slot returns where the place of an id is remembered. An id begins with hexadecimal digits; others have one place.
func (r *recent) slot(id string) *atomic.Uint32 {
	digits, err := strconv.ParseUint(id[:min(len(id), 8)], 16, 32)
	if err != nil {
		digits = 0
	}
	return &r.places[uint32(digits)>>(32-r.first)]
}

func (r *recent) note(run *trellisv1.Run) {
	r.slot(run.Id).Store(run.Place + 1)
	r.kept(run.Place).Store(run)
}

func (r *recent) kept(place uint32) *atomic.Pointer[trellisv1.Run] {
	return &r.runs[int(place)&(len(r.runs)-1)]
}

// run returns the run at a place if it is kept.
func (r *recent) run(place uint32) *trellisv1.Run {
	if run := r.kept(place).Load(); run != nil && run.Place == place {
		return run
	}
	return nil
}

// find returns the place that is remembered for an id, which may be another run's.
func (r *recent) find(id string) (place uint32, ok bool) {
	place = r.slot(id).Load()
	return place - 1, place > 0
}
