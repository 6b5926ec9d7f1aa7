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
)

// List is keys in ascending order, none of them twice. The zero value is the empty list.
type List struct {
	// blocks are in order. None is empty.
	blocks []*block
}

// block is a part of a list.
type block struct {
	// first is the first key of the first page.
	first listing.Key
	// pages are in order. None is empty.
	pages [][]listing.Key
}

// Of returns a list of keys that are in order.
func Of(keys []listing.Key) List { return List{}.With(keys) }

// Empty says whether the list has no keys.
func (l List) Empty() bool { return len(l.blocks) == 0 }

// With returns the list with more keys, which are in order and not in it.
func (l List) With(added []listing.Key) List {
	if len(added) == 0 {
		return l
	}
	if l.Empty() {
		return List{blocks(divided(added))}
	}
	with, next := make([]*block, 0, len(l.blocks)+1), 0
	for len(added) > 0 {
		at := next + owner(len(l.blocks)-next, added[0], func(i int) *listing.Key { return &l.blocks[next+i].first })
		with = append(with, l.blocks[next:at]...)
		its := added
		if next = at + 1; next < len(l.blocks) {
			its = below(added, &l.blocks[next].first)
		}
		with, added = append(with, l.blocks[at].with(its)...), added[len(its):]
	}
	return List{append(with, l.blocks[next:]...)}
}

// with returns the block with more keys, as several blocks if it would have too many pages.
func (b *block) with(added []listing.Key) []*block {
	pages, next := make([][]listing.Key, 0, len(b.pages)+1), 0
	for len(added) > 0 {
		at := next + owner(len(b.pages)-next, added[0], func(i int) *listing.Key { return &b.pages[next+i][0] })
		pages = append(pages, b.pages[next:at]...)
		its := added
		if next = at + 1; next < len(b.pages) {
			its = below(added, &b.pages[next][0])
		}
		pages, added = append(pages, divided(Merge(b.pages[at], its))...), added[len(its):]
	}
	return blocks(append(pages, b.pages[next:]...))
}

// owner returns which of n parts a key belongs to: the last one that does not begin after it, or else the first.
func owner(n int, k listing.Key, first func(int) *listing.Key) int {
	return max(0, sort.Search(n, func(i int) bool { return first(i).Compare(k) > 0 })-1)
}

// below returns the keys that come before another.
func below(keys []listing.Key, end *listing.Key) []listing.Key {
	return keys[:sort.Search(len(keys), func(i int) bool { return keys[i].Compare(*end) >= 0 })]
}

// few is how many times more keys one list must have than the other so that it is searched instead of read.
const few = 8

// Merge merges two lists of keys that are in order.
func Merge(a, b []listing.Key) []listing.Key {
	both := make([]listing.Key, 0, len(a)+len(b))
	for len(a) > few*len(b) && len(b) > 0 {
		its := below(a, &b[0])
		both, a, b = append(append(both, its...), b[0]), a[len(its):], b[1:]
	}
	for len(a) > 0 && len(b) > 0 {
		if a[0].Compare(b[0]) < 0 {
			both, a = append(both, a[0]), a[1:]
		} else {
			both, b = append(both, b[0]), b[1:]
		}
	}
	return append(append(both, a...), b...)
}

// divided returns the pages of keys. If they are several, each has an array of its own, so that those of the others can go.
func divided(keys []listing.Key) [][]listing.Key {
	parts := (len(keys) + PageSize - 1) / PageSize
	if parts == 1 {
		return [][]listing.Key{keys}
	}
	pages := make([][]listing.Key, parts)
	for i := range pages {
		pages[i] = slices.Clone(keys[i*len(keys)/parts : (i+1)*len(keys)/parts])
	}
	return pages
}

// blocks returns the blocks of pages, which are at least one.
func blocks(pages [][]listing.Key) []*block {
	parts := (len(pages) + blockSize - 1) / blockSize
	all := make([]*block, parts)
	for i := range all {
		its := pages[i*len(pages)/parts : (i+1)*len(pages)/parts]
		if parts > 1 {
			its = slices.Clone(its)
		}
		all[i] = &block{first: its[0][0], pages: its}
	}
	return all
}

// Without returns the list without a key, and whether the key was in it.
func (l List) Without(k listing.Key) (List, bool) {
	if l.Empty() {
		return l, false
	}
	at := owner(len(l.blocks), k, func(i int) *listing.Key { return &l.blocks[i].first })
	its := l.blocks[at]
	page := owner(len(its.pages), k, func(i int) *listing.Key { return &its.pages[i][0] })
	place, found := slices.BinarySearchFunc(its.pages[page], k, listing.Key.Compare)
	if !found {
		return l, false
	}
	pages := slices.Clone(its.pages)
	if left := slices.Delete(slices.Clone(its.pages[page]), place, place+1); len(left) > 0 {
		pages[page] = left
	} else {
		pages = slices.Delete(pages, page, page+1)
	}
	all := slices.Clone(l.blocks)
	if len(pages) > 0 {
		all[at] = &block{first: pages[0][0], pages: pages}
	} else {
		all = slices.Delete(all, at, at+1)
	}
	return List{all}, true
}

// Pages returns the keys, a page at a time, as they are stored. None is empty, and nobody may change them.
func (l List) Pages() iter.Seq[[]listing.Key] {
	return func(yield func([]listing.Key) bool) {
		for _, its := range l.blocks {
			for _, page := range its.pages {
				if !yield(page) {
					return
				}
			}
		}
	}
}

// After returns the pages of the keys that come after another.
func (l List) After(k listing.Key) iter.Seq[[]listing.Key] {
	return func(yield func([]listing.Key) bool) {
		if l.Empty() {
			return
		}
		at := owner(len(l.blocks), k, func(i int) *listing.Key { return &l.blocks[i].first })
		begun := owner(len(l.blocks[at].pages), k, func(i int) *listing.Key { return &l.blocks[at].pages[i][0] })
		for i, its := range l.blocks[at:] {
			for j, page := range its.pages {
				if i == 0 && j < begun {
					continue
				}
				if i == 0 && j == begun {
					page = page[sort.Search(len(page), func(n int) bool { return page[n].Compare(k) > 0 }):]
				}
				if len(page) > 0 && !yield(page) {
					return
				}
			}
		}
	}
}
