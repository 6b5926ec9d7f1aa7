package lattice

import (
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"runtime"
	"slices"
	"sync"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// idsOf calls take with the ids of the runs of points, which it finds by their indexes. It calls it on all cores, but
// never twice for the same number.
func (l *Lattice) idsOf(n int, indexOf func(i int) uint64, take func(i int, id string)) {
	inParallel(n, func(from, end int) {
		point := &trellisv1.Parameters{}
		for i := from; i < end; i++ {
			l.readPoint(indexOf(i), point)
			take(i, l.identity.ID(point))
		}
	})
}

// firstIndex returns the lowest index of the trials of the run at a place.
func (l *Lattice) firstIndex(place uint32) uint64 {
	if l.earlier != nil {
		if place < l.earlier.Runs() {
			return l.earlier.firstIndex(place)
		}
		_, indexes := l.Milestones(place)
		return slices.Min(indexes)
	}
	_, indexes := l.runs.trials(l.rankOf(place))
	return slices.Min(indexes)
}

// idBytes are what an id writes in hexadecimal.
func idBytes(id string) (binary [16]byte) {
	// Ids that RunID makes are hexadecimal; another is none that it made.
	if n, err := hex.Decode(binary[:], []byte(id)); err != nil || n != len(binary) {
		panic("lattice: an id of a run is not 32 hexadecimal digits")
	}
	return binary
}

// inParallel divides the numbers below n, on all cores.
func inParallel(n int, do func(from, end int)) {
	const atOnce = 1 << 12
	var all sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for from := range next {
				do(from, min(from+atOnce, n))
			}
		})
	}
	for from := 0; from < n; from += atOnce {
		next <- from
	}
	close(next)
	all.Wait()
}

// idIndex finds places by ids: numbers that ascend, of which the last bits are a place, and the others the first of its
// id.
type idIndex struct {
	entries []uint64
	// places is how many bits a place has.
	places int
}

// newIDIndex reads all ids.
func (l *Lattice) newIDIndex() idIndex {
	index := idIndex{make([]uint64, l.Runs()), bits.Len32(l.Runs())}
	indexOf := func(place int) uint64 { return l.firstIndex(uint32(place)) }
	l.idsOf(len(index.entries), indexOf, func(place int, id string) {
		index.entries[place] = index.start(idBytes(id)) | uint64(place)
	})
	slices.Sort(index.entries)
	return index
}

// start is the entry of an id at place 0.
func (index idIndex) start(id [16]byte) uint64 {
	return binary.BigEndian.Uint64(id[:]) >> index.places << index.places
}

// PlaceOfID returns the place of the run with an id. The first call reads all ids, and takes a while; 8 bytes of each
// run are kept.
func (l *Lattice) PlaceOfID(id string) (place uint32, ok bool) {
	read, err := hex.DecodeString(id)
	if err != nil || len(read) != 16 {
		return 0, false
	}
	index := l.byID()
	start := index.start([16]byte(read))
	at, _ := slices.BinarySearch(index.entries, start)
	for _, entry := range index.entries[at:] {
		if entry>>index.places != start>>index.places {
			return 0, false
		}
		if place = uint32(entry & (1<<index.places - 1)); l.identity.ID(l.At(l.firstIndex(place))) == id {
			return place, true
		}
	}
	return 0, false
}

// Smallest returns the smallest id of all runs. The first call reads all ids, and takes a while.
func (l *Lattice) Smallest() string { return l.smallest() }

func (l *Lattice) findSmallest() (smallest string) {
	var mutex sync.Mutex
	inParallel(int(l.Runs()), func(from, end int) {
		least, point := "", &trellisv1.Parameters{}
		for place := from; place < end; place++ {
			l.readPoint(l.firstIndex(uint32(place)), point)
			if id := l.identity.ID(point); least == "" || id < least {
				least = id
			}
		}
		mutex.Lock()
		defer mutex.Unlock()
		if smallest == "" || least < smallest {
			smallest = least
		}
	})
	return smallest
}

// MayShare says whether two studies may have a run in common, as far as that is known without comparing their runs:
// what all runs of each have in common must be the same, and every parameter have a value that both studies have.
func (l *Lattice) MayShare(o *Lattice) bool {
	return l.common == o.common && l.grid.MayMeet(o.grid)
}

// Telling returns a text that is the same for all studies that may have a run in common, and which values their parameters
// have: see grid.Grid.Telling.
func (l *Lattice) Telling(most int) (common string, values map[string]grid.Telling) {
	return l.common, l.grid.Telling(most)
}
