package ranking

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"trellis/results/listing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// keyOf returns a key. Those of greater numbers come later. A few share their field.
func keyOf(n uint32) (k listing.Key) {
	binary.BigEndian.PutUint32(k[4:], n/16)
	binary.BigEndian.PutUint32(k[8:], n%16)
	binary.BigEndian.PutUint32(k[20:], ^n)
	return k
}

// check wants a list to have these keys, in pages of the right size.
func check(t interface{ Fatalf(string, ...any) }, l List, want []uint32) {
	var got []listing.Key
	size := 0
	for page := range l.Pages() {
		if len(page) == 0 {
			t.Fatalf("a page without keys")
		}
		got = append(got, page...)
	}
	if !slices.EqualFunc(got, want, func(k listing.Key, n uint32) bool { return k == keyOf(n) }) {
		t.Fatalf("the list has %d keys, want %d: %v", len(got), len(want), want)
	}
	begin(t, l.blocks)
	for i, its := range l.blocks.all {
		if n := len(its.pages.all); n == 0 || n > blockSize {
			t.Fatalf("block %d has %d pages", i, n)
		}
		begin(t, its.pages)
		for _, page := range its.pages.all {
			if len(page) > PageSize {
				t.Fatalf("a page of %d keys", len(page))
			}
			size += len(page)
		}
	}
	late := 0
	for i, its := range l.late {
		late += len(its)
		if i > 0 && len(l.late[i-1]) < 2*len(its) {
			t.Fatalf("%d late keys come after %d", len(its), len(l.late[i-1]))
		}
	}
	if l.size != size || late*lateShare > size || size+late != len(want) {
		t.Fatalf("%d keys are in blocks, it says %d, and %d are late, of %d", size, l.size, late, len(want))
	}
	if l.Empty() != (len(want) == 0) {
		t.Fatalf("a list of %d keys is empty: %v", len(want), l.Empty())
	}
}

// begin wants parts to begin where it is noted.
func begin[Part part](t interface{ Fatalf(string, ...any) }, p parts[Part]) {
	if len(p.starts) != len(p.all) {
		t.Fatalf("%d parts begin at %x", len(p.all), p.starts)
	}
	for i, its := range p.all {
		if p.starts[i] != field(its.first()) {
			t.Fatalf("part %d begins with %x, and not at %x", i, *its.first(), p.starts[i])
		}
	}
}

// TestModel: a list has what was put into it, in order, and none ever changes.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type version struct {
			list List
			keys []uint32
		}
		now := version{}
		earlier := []version{now}
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		for range rapid.IntRange(1, 10).Draw(t, "steps") {
			count := rapid.SampledFrom([]int{0, 1, 3, 40, 200, 5000}).Draw(t, "added")
			from := rapid.SampledFrom([]uint32{0, 1 << 20, 1 << 31}).Draw(t, "from")
			within := rapid.SampledFrom([]uint32{1 << 14, 1 << 30}).Draw(t, "within")
			added := map[uint32]bool{}
			for range count {
				n := from + random.Uint32N(within)
				if _, known := slices.BinarySearch(now.keys, n); !known {
					added[n] = true
				}
			}
			var keys []listing.Key
			for n := range added {
				keys, now.keys = append(keys, keyOf(n)), append(slices.Clip(now.keys), n)
			}
			slices.SortFunc(keys, listing.Key.Compare)
			slices.Sort(now.keys)
			now.list = now.list.With(keys)
			for range rapid.IntRange(0, 4).Draw(t, "removed") {
				n := random.Uint32()
				if len(now.keys) > 0 && random.IntN(4) > 0 {
					n = now.keys[random.IntN(len(now.keys))]
				}
				at, known := slices.BinarySearch(now.keys, n)
				list, found := now.list.Without(keyOf(n))
				if found != known {
					t.Fatalf("key %d is in the list: %v, want %v", n, found, known)
				}
				if now.list = list; known {
					now.keys = slices.Delete(slices.Clone(now.keys), at, at+1)
				}
			}
			check(t, now.list, now.keys)
			earlier = append(earlier, now)
		}
		for _, old := range earlier {
			check(t, old.list, old.keys)
			after := random.Uint32()
			if len(old.keys) > 0 && random.IntN(2) > 0 {
				after = old.keys[random.IntN(len(old.keys))]
			}
			at, known := slices.BinarySearch(old.keys, after)
			if known {
				at++
			}
			var got []listing.Key
			for page := range old.list.After(keyOf(after)) {
				got = append(got, page...)
			}
			if !slices.EqualFunc(got, old.keys[at:], func(k listing.Key, n uint32) bool { return k == keyOf(n) }) {
				t.Fatalf("after %d come %d keys, want %d", after, len(got), len(old.keys)-at)
			}
		}
	})
}

// TestNothingStaysSmall: keys that come one at a time, in order or against it, fill pages and blocks at least by half.
func TestNothingStaysSmall(t *testing.T) {
	const count = 20_000
	for name, at := range map[string]func(int) uint32{
		"ascending": func(i int) uint32 { return uint32(i) }, "descending": func(i int) uint32 { return uint32(count - i) },
	} {
		l := List{}
		for i := range count {
			l = l.With([]listing.Key{keyOf(at(i))})
		}
		pages := 0
		l = l.settled()
		for range l.Pages() {
			pages++
		}
		if most := 2*count/PageSize + 1; pages > most || len(l.blocks.all) > 2*pages/blockSize+1 {
			t.Errorf("%s: %d pages in %d blocks", name, pages, len(l.blocks.all))
		}
		if !slices.IsSortedFunc(slices.Concat(slices.Collect(l.Pages())...), listing.Key.Compare) {
			t.Errorf("%s: out of order", name)
		}
	}
}

// BenchmarkWith adds as many keys to a large study's as come with a command.
func BenchmarkWith(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 1))
	keys := make([]listing.Key, 1_000_000)
	for i := range keys {
		binary.BigEndian.PutUint64(keys[i][:], random.Uint64())
	}
	slices.SortFunc(keys, func(a, b listing.Key) int { return bytes.Compare(a[:], b[:]) })
	l, added := Of(keys), make([]listing.Key, 160)
	for b.Loop() {
		for i := range added {
			binary.BigEndian.PutUint64(added[i][:], random.Uint64())
		}
		slices.SortFunc(added, listing.Key.Compare)
		l = l.With(added)
	}
}
