package lattice

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	trellisv1 "trellis/proto/trellis/v1"
)

// Identified is the place of a run, and its id in binary.
type Identified struct {
	ID    [16]byte
	Place uint32
}

// String returns the id as runs have it.
func (i Identified) String() string { return hex.EncodeToString(i.ID[:]) }

// Append appends the id to a text as runs have it.
func (i Identified) Append(text []byte) []byte { return hex.AppendEncode(text, i.ID[:]) }

func compareIDs(a, b Identified) int {
	return cmp.Or(
		cmp.Compare(binary.BigEndian.Uint64(a.ID[:8]), binary.BigEndian.Uint64(b.ID[:8])), bytes.Compare(a.ID[8:], b.ID[8:]),
	)
}

// ByID returns the places of all runs in the order of their ids. It computes them on all cores, and gives up once interrupted
// returns an error.
func (l *Lattice) ByID(interrupted func() error) ([]Identified, error) {
	all := make([]Identified, l.Runs())
	inParallel(len(all), func(from, end int) {
		if interrupted() != nil {
			return
		}
		point := &trellisv1.Parameters{}
		for place := from; place < end; place++ {
			l.readPoint(l.firstIndex(uint32(place)), point)
			all[place] = Identified{idBytes(l.identity.ID(point)), uint32(place)}
		}
	})
	if err := interrupted(); err != nil {
		return nil, err
	}
	sortByID(all)
	return all, nil
}

// OrderWith returns the order of runs and of other ids, each of which are sorted: a run is what it is in its list, and an other id
// comes behind all of these. It is nil if there are no others.
func OrderWith(ids []Identified, others []string) []uint32 {
	if len(others) == 0 {
		return nil
	}
	order, next := make([]uint32, 0, len(ids)+len(others)), 0
	var id []byte
	for i, of := range ids {
		if next < len(others) {
			for id = of.Append(id[:0]); next < len(others) && others[next] < string(id); next++ {
				order = append(order, uint32(len(ids)+next))
			}
		}
		order = append(order, uint32(i))
	}
	for ; next < len(others); next++ {
		order = append(order, uint32(len(ids)+next))
	}
	return order
}

// sortByID sorts a list by ids. It divides it by the first bytes of these, which are like random ones, and sorts the parts on all
// cores.
func sortByID(all []Identified) {
	var begins, ends [256]int
	for i := range all {
		ends[all[i].ID[0]]++
	}
	end := 0
	for first, n := range ends {
		begins[first] = end
		end += n
		ends[first] = end
	}
	// Each is swapped to where its part goes on: no other list is needed.
	next := begins
	for first := range next {
		for next[first] < ends[first] {
			at := next[first]
			to := all[at].ID[0]
			all[at], all[next[to]] = all[next[to]], all[at]
			next[to]++
		}
	}
	var part atomic.Int32
	var sorting sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		sorting.Go(func() {
			for at := int(part.Add(1) - 1); at < len(ends); at = int(part.Add(1) - 1) {
				slices.SortFunc(all[begins[at]:ends[at]], compareIDs)
			}
		})
	}
	sorting.Wait()
}
