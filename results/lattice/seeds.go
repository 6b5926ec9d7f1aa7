package lattice

import "slices"

// Seeds returns the seeds of a study that trains every point with each of them: the trial with index i has seed i modulo their
// number, and trials whose indexes have the same quotient differ in nothing else. ok is false if where or a budget leave trials
// out, if grids overlap, or if the study has been extended: the indexes of its trials are those of several grids.
func (l *Lattice) Seeds() (seeds []uint32, ok bool) {
	if l.Extended() || !l.Disjoint() || !l.whole || l.all.trials != l.grid.Size() {
		return nil, false
	}
	for k := range l.grid.Products() {
		dimensions := l.grid.Products()[k].Dimensions
		last := &dimensions[len(dimensions)-1]
		its := make([]uint32, last.Size())
		for digit := range its {
			its[digit] = last.Epochs(uint64(digit))
		}
		if k > 0 && !slices.Equal(its, seeds) {
			return nil, false
		}
		seeds = its
	}
	return seeds, true
}
