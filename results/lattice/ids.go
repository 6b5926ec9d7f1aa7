package lattice

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"math/bits"
	"runtime"
	"slices"
	"sync"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// idOf returns the id of the run that trains a point of the study.
func (l *Lattice) idOf(point *trellisv1.Parameters) string {
	return grid.RunID(grid.RunConfigFor(l.study, &trellisv1.Run{Parameters: point}, l.study.GetNumerics(), math.MaxUint32))
}

// idAt returns the id of the run at a place.
func (l *Lattice) idAt(place uint32) string {
	_, indexes := l.runs.trials(l.rankOf(place))
	return l.idOf(l.grid.At(slices.Min(indexes)))
}

// idBytes are what an id writes in hexadecimal.
func idBytes(id string) (binary [16]byte) {
	// Ids that RunID makes are hexadecimal; another is none that it made.
	if n, err := hex.Decode(binary[:], []byte(id)); err != nil || n != len(binary) {
		panic("lattice: an id of a run is not 32 hexadecimal digits")
	}
	return binary
}

// inParallel calls do for the numbers below n, on all cores: each takes so many at once.
func inParallel(n, atOnce int, do func(i int)) {
	var all sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for from := range next {
				for i := from; i < min(from+atOnce, n); i++ {
					do(i)
				}
			}
		})
	}
	for from := 0; from < n; from += atOnce {
		next <- from
	}
	close(next)
	all.Wait()
}

// idIndex finds places by ids: numbers that ascend, of which the last bits are a place, and the others the first of its id.
type idIndex struct {
	entries []uint64
	// places is how many bits a place has.
	places int
}

// newIDIndex reads all ids.
func (l *Lattice) newIDIndex() idIndex {
	index := idIndex{make([]uint64, l.Runs()), bits.Len32(l.Runs())}
	inParallel(len(index.entries), 1<<12, func(place int) {
		index.entries[place] = index.start(idBytes(l.idAt(uint32(place)))) | uint64(place)
	})
	slices.Sort(index.entries)
	return index
}

// start is the entry of an id at place 0.
func (index idIndex) start(id [16]byte) uint64 {
	return binary.BigEndian.Uint64(id[:]) >> index.places << index.places
}

// PlaceOfID returns the place of the run with an id. The first call reads all ids, and takes a while; 8 bytes of each run are
// kept.
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
		if place = uint32(entry & (1<<index.places - 1)); l.idAt(place) == id {
			return place, true
		}
	}
	return 0, false
}

// Smallest returns the smallest id of all runs. The first call reads all ids, and takes a while.
func (l *Lattice) Smallest() string { return l.smallest() }

func (l *Lattice) findSmallest() string {
	// The smallest of each part, which one goroutine reads.
	const part = 1 << 12
	smallest := make([]string, (l.Runs()+part-1)/part)
	inParallel(len(smallest), 1, func(i int) {
		for place := i * part; place < min((i+1)*part, int(l.Runs())); place++ {
			if id := l.idAt(uint32(place)); smallest[i] == "" || id < smallest[i] {
				smallest[i] = id
			}
		}
	})
	return slices.Min(smallest)
}

// MayShare says whether two studies may have a run in common, as far as that is known without comparing their runs: what all
// runs of each have in common must be the same, and every parameter have a value that both studies have.
func (l *Lattice) MayShare(o *Lattice) bool {
	none := &trellisv1.Parameters{}
	return l.idOf(none) == o.idOf(none) && l.grid.MayMeet(o.grid)
}
