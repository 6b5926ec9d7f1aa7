package chart

import (
	"bytes"
	"sort"

	"trellis/results"
	"trellis/results/listing"
)

// ranks are the keys of a study's trials with results, best first.
type ranks struct {
	pages [][]listing.Key
	// from has the rank of the first key of each page.
	from []int
	// total is how many there are, and finite how many of these have a finite objective: the first ones.
	total, finite int
}

func newRanks(snapshot *results.Snapshot, study string) (*ranks, error) {
	pages, err := snapshot.RankPages(study)
	if err != nil {
		return nil, err
	}
	r := &ranks{}
	for page := range pages {
		r.pages, r.from = append(r.pages, page), append(r.from, r.total)
		r.total += len(page)
	}
	if err := snapshot.Err(); err != nil {
		return nil, err
	}
	r.finite = r.search(func(k listing.Key) bool { return bytes.Compare(k[:], listing.LastFinite[:]) > 0 })
	return r, nil
}

// at returns the key of a rank, counted from 0.
func (r *ranks) at(rank int) listing.Key {
	page := sort.SearchInts(r.from, rank+1) - 1
	return r.pages[page][rank-r.from[page]]
}

// search returns the first rank whose key, and all after it, meet a condition.
func (r *ranks) search(met func(listing.Key) bool) int {
	page := sort.Search(len(r.pages), func(i int) bool { return met(r.pages[i][0]) })
	if page == 0 {
		return 0
	}
	page--
	return r.from[page] + sort.Search(len(r.pages[page]), func(i int) bool { return met(r.pages[page][i]) })
}

// pick returns ranks: the best ones, and others that are even among the rest. It returns all if they are no more.
func (r *ranks) pick(best, others int) []int {
	best = min(best, r.total)
	return append(even(0, best, best), even(best, r.total, others)...)
}

// even returns at most n numbers from low on, below high, at distances that differ by at most one. The first and the
// last are among them.
func even(low, high, n int) []int {
	if n = min(n, high-low); n <= 0 {
		return nil
	}
	numbers := make([]int, n)
	for i := range numbers {
		numbers[i] = low
		if n > 1 {
			numbers[i] += int(int64(i) * int64(high-low-1) / int64(n-1))
		}
	}
	return numbers
}
