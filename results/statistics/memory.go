package statistics

import (
	"cmp"
	"slices"
	"unsafe"
)

// Memory has what a judgement of many samples found, so that the next one of the same samples need not compute again what has
// not changed. Judgements are the same without it. It is not safe for concurrent use. Samples must not be changed, but replaced.
type Memory struct {
	// best is what pairs compare with: the samples at these positions, as they were then.
	best  Sample
	pairs []remembered
	// order are the positions, best first.
	order []uint32
}

type remembered struct {
	sample Sample
	pair   pair
}

// identical says whether two samples are one.
func identical(a, b Sample) bool {
	return len(a) == len(b) && unsafe.SliceData(a) == unsafe.SliceData(b)
}

// compareWhole compares a sample with all of the best.
func (r *replay) compareWhole(i int, best Sample) pair {
	if r.memory == nil {
		return compare(r.samples[i], best)
	}
	m, at := r.memory, int(r.positions[i])
	if !identical(m.best, best) {
		m.best, m.pairs = best, nil
	}
	if at >= len(m.pairs) {
		m.pairs = append(m.pairs, make([]remembered, int(slices.Max(r.positions))+1-len(m.pairs))...)
	}
	its := &m.pairs[at]
	if !identical(its.sample, r.samples[i]) {
		*its = remembered{r.samples[i], compare(r.samples[i], best)}
	}
	return its.pair
}

// remember notes the order of samples.
func (r *replay) remember(order []int) {
	r.memory.order = r.memory.order[:0]
	for _, i := range order {
		r.memory.order = append(r.memory.order, r.positions[i])
	}
}

// sort sorts ascending numbers of samples by their means. If these are equal, they stay in order.
func (r *replay) sort(samples []int) {
	compare := func(a, b int) int { return cmp.Or(cmp.Compare(r.means[a], r.means[b]), cmp.Compare(a, b)) }
	if r.memory == nil || len(r.memory.order) == 0 {
		slices.SortFunc(samples, compare)
		return
	}
	// Most are in the order that they had before: the others are sorted, and merged with these.
	const absent = -1
	numbers := make([]int, slices.Max(r.positions)+1)
	for at := range numbers {
		numbers[at] = absent
	}
	for _, i := range samples {
		numbers[r.positions[i]] = i
	}
	sorted := make([]int, 0, len(samples))
	for _, at := range r.memory.order {
		if int(at) >= len(numbers) || numbers[at] == absent {
			continue
		}
		i := numbers[at]
		same := int(at) < len(r.memory.pairs) && identical(r.memory.pairs[at].sample, r.samples[i])
		if same && (len(sorted) == 0 || compare(sorted[len(sorted)-1], i) < 0) {
			sorted = append(sorted, i)
			numbers[at] = absent
		}
	}
	var others []int
	for _, i := range samples {
		if numbers[r.positions[i]] != absent {
			others = append(others, i)
		}
	}
	slices.SortFunc(others, compare)
	samples = samples[:0]
	for len(sorted) > 0 && len(others) > 0 {
		if compare(sorted[0], others[0]) < 0 {
			samples, sorted = append(samples, sorted[0]), sorted[1:]
		} else {
			samples, others = append(samples, others[0]), others[1:]
		}
	}
	copy(samples[len(samples):cap(samples)], append(sorted, others...))
}
