package ranking

import (
	"iter"
	"slices"
	"sort"

	"trellis/results/listing"
)

const (
	// PageSize is the maximum number of keys on a page.
	PageSize = 128
	// blockSize is the maximum number of pages of a block.
	blockSize = 32
	// lateShare is how many times more keys a list has in its pages than late, at least. With more late ones, fewer pages are
	// copied for each, but all at once: for a million keys, that takes 20 ms of processor time now, and 30 ms with half of it.
	lateShare = 64
)

// List is keys in ascending order, none of them twice. The zero value is the empty list.
type List struct {
	blocks parts[*block]
	// size is how many keys are in the blocks.
	size int
	// late are the keys that have been added since, in lists that are in order. Each has at least twice as many as the next.
	late [][]listing.Key
}

// block is a part of a list.
type block struct {
	pages parts[page]
}

// page is a part of a block.
type page []listing.Key

func (b *block) first() *listing.Key { return b.pages.all[0].first() }
func (b *block) empty() bool         { return len(b.pages.all) == 0 }
func (p page) first() *listing.Key   { return &p[0] }
func (p page) empty() bool           { return len(p) == 0 }

// Of returns a list of keys that are in order.
func Of(keys []listing.Key) List { return List{}.With(keys) }

// Empty says whether the list has no keys.
func (l List) Empty() bool { return l.size == 0 }

// With returns the list with more keys, which are in order and not in it. It keeps them, so that they must not change.
func (l List) With(added []listing.Key) List {
	if len(added) == 0 {
		return l
	}
	late, n := l.late, len(added)
	for len(late) > 0 && len(late[len(late)-1]) < 2*len(added) {
		added, late = Merge(late[len(late)-1], added), late[:len(late)-1]
	}
	for _, its := range l.late {
		n += len(its)
	}
	l.late = append(slices.Clip(late), added)
	if n*lateShare > l.size {
		return l.settled()
	}
	return l
}

// settled returns the list with all its keys in the blocks.
func (l List) settled() List {
	late := l.lateAfter(nil)
	switch {
	case len(late) == 0:
		return l
	case len(l.blocks.all) > 0:
		return List{blocks: l.blocks.with(late, (*block).with), size: l.size + len(late)}
	}
	var pages parts[page]
	divide(&pages, late)
	settled := List{size: len(late)}
	group(&settled.blocks, pages)
	return settled
}

// lateAfter returns the late keys that come after a key, or all.
func (l List) lateAfter(k *listing.Key) (late []listing.Key) {
	for _, its := range slices.Backward(l.late) {
		if k != nil {
			its = its[sort.Search(len(its), func(n int) bool { return its[n].Compare(*k) > 0 }):]
		}
		if len(late) == 0 {
			late = its
		} else if len(its) > 0 {
			late = Merge(its, late)
		}
	}
	return late
}

// with adds the block with more keys, as several blocks if it would have too many pages.
func (b *block) with(added []listing.Key, to *parts[*block]) {
	group(to, b.pages.with(added, page.with))
}

// with adds the page with more keys, as several pages if it would have too many.
func (p page) with(added []listing.Key, to *parts[page]) { divide(to, Merge(p, added)) }

// few is how many times more keys one list must have than the other so that it is searched instead of read.
const few = 8

// Merge merges two lists of keys that are in order.
func Merge(a, b []listing.Key) []listing.Key {
	if len(a) > few*len(b) {
		return inserted(a, b)
	}
	both := make([]listing.Key, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0].Compare(b[0]) < 0 {
			both, a = append(both, a[0]), a[1:]
		} else {
			both, b = append(both, b[0]), b[1:]
		}
	}
	return append(append(both, a...), b...)
}

// inserted is Merge of many keys and a few. The many are searched after they have been copied: copying reads them from memory one
// after the other, while searching them there would wait for one after the other.
func inserted(many, added []listing.Key) []listing.Key {
	all, rest := slices.Concat(many, added), len(many)
	for i, k := range slices.Backward(added) {
		place := sort.Search(rest, func(n int) bool { return all[n].Compare(k) > 0 })
		copy(all[place+i+1:], all[place:rest])
		all[place+i], rest = k, place
	}
	return all
}

// divide adds the pages of keys. If they are several, each has an array of its own, so that those of the others can go.
func divide(to *parts[page], keys []listing.Key) {
	count := (len(keys) + PageSize - 1) / PageSize
	for i := range count {
		its := keys[i*len(keys)/count : (i+1)*len(keys)/count]
		if count > 1 {
			its = slices.Clone(its)
		}
		to.add(its)
	}
}

// group adds the blocks of pages. If they are several, each has arrays of its own.
func group(to *parts[*block], pages parts[page]) {
	n := len(pages.all)
	count := (n + blockSize - 1) / blockSize
	for i := range count {
		its := pages.between(i*n/count, (i+1)*n/count)
		if count > 1 {
			its = its.clone()
		}
		to.add(&block{its})
	}
}

// Without returns the list without a key, and whether the key was in it.
func (l List) Without(k listing.Key) (List, bool) {
	settled := l.settled()
	if settled.Empty() {
		return l, false
	}
	at := settled.blocks.owner(0, &k)
	pages := settled.blocks.all[at].pages
	number := pages.owner(0, &k)
	place, found := slices.BinarySearchFunc(pages.all[number], k, listing.Key.Compare)
	if !found {
		return l, false
	}
	pages = pages.replaced(number, slices.Delete(slices.Clone(pages.all[number]), place, place+1))
	return List{blocks: settled.blocks.replaced(at, &block{pages}), size: settled.size - 1}, true
}

// Pages returns the keys, some at a time, as they are stored. None of the slices is empty, and nobody may change them.
func (l List) Pages() iter.Seq[[]listing.Key] {
	return func(yield func([]listing.Key) bool) {
		among(l.pagesAfter(nil), l.lateAfter(nil), yield)
	}
}

// After returns the pages of the keys that come after another.
func (l List) After(k listing.Key) iter.Seq[[]listing.Key] {
	return func(yield func([]listing.Key) bool) {
		among(l.pagesAfter(&k), l.lateAfter(&k), yield)
	}
}

// among yields pages with the late keys among them, none of which is copied.
func among(pages iter.Seq[[]listing.Key], late []listing.Key, yield func([]listing.Key) bool) {
	for page := range pages {
		for len(late) > 0 && late[0].Compare(page[len(page)-1]) < 0 {
			place := sort.Search(len(page), func(n int) bool { return page[n].Compare(late[0]) > 0 })
			if place > 0 && !yield(page[:place]) {
				return
			}
			page = page[place:]
			count := 1
			for count < len(late) && late[count].Compare(page[0]) < 0 {
				count++
			}
			if !yield(late[:count]) {
				return
			}
			late = late[count:]
		}
		if !yield(page) {
			return
		}
	}
	if len(late) > 0 {
		yield(late)
	}
}

// pagesAfter returns the pages in the blocks of keys that come after another, or of all.
func (l List) pagesAfter(k *listing.Key) iter.Seq[[]listing.Key] {
	return func(yield func([]listing.Key) bool) {
		at, begun := 0, 0
		if k != nil && len(l.blocks.all) > 0 {
			at = l.blocks.owner(0, k)
			begun = l.blocks.all[at].pages.owner(0, k)
		}
		for i, its := range l.blocks.all[at:] {
			for j, page := range its.pages.all {
				if i == 0 && j < begun {
					continue
				}
				if k != nil && i == 0 && j == begun {
					page = page[sort.Search(len(page), func(n int) bool { return page[n].Compare(*k) > 0 }):]
				}
				if len(page) > 0 && !yield(page) {
					return
				}
			}
		}
	}
}
