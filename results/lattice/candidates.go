package lattice

import (
	"iter"
	"slices"
)

// Placed is a grid whose points are trials, with the index of its first point.
type Placed struct {
	First uint64
	Of    *Lattice
}

// Grids returns the grids whose points the trials are, in the order of their indexes: one, and one for each extension since.
func (l *Lattice) Grids() (grids []Placed) {
	for its := l; ; its = its.earlier.Lattice {
		grids = append(grids, Placed{its.first(), its})
		if its.earlier == nil {
			break
		}
	}
	slices.Reverse(grids)
	return grids
}

// stretchOf are indexes that follow each other in a product of a grid: those in kept, or all from one on, below another.
type stretchOf struct {
	kept     []uint64
	from, to uint64
	certain  bool
}

func (l *Lattice) stretchesFrom(from uint64) (all []stretchOf) {
	for _, placed := range l.Grids() {
		its := placed.Of
		products := its.grid.Products()
		for k := range products {
			next, end := placed.First+products[k].Offset, placed.First+its.grid.Size()
			if k+1 < len(products) {
				end = placed.First + products[k+1].Offset
			}
			if next = max(next, from); next >= end {
				continue
			}
			if !its.sparse {
				all = append(all, stretchOf{from: next, to: end, certain: its.isAll()})
				continue
			}
			kept := its.kept()
			low, _ := slices.BinarySearch(kept, next)
			high, _ := slices.BinarySearch(kept, end)
			all = append(all, stretchOf{kept: kept[low:high], certain: true})
		}
	}
	return all
}

// Candidates returns indexes from one on in lists of at most so many that ascend, each of one product of a grid. The lists
// descend if descending is, and otherwise ascend. All trials are among them. Unless they are certain, others are too, but not
// many more than there may be trials. A list is valid until the next one.
func (l *Lattice) Candidates(from uint64, most int, descending bool) iter.Seq2[[]uint64, bool] {
	return func(yield func(indexes []uint64, certain bool) bool) {
		list, all := make([]uint64, most), l.stretchesFrom(from)
		if descending {
			slices.Reverse(all)
		}
		for _, s := range all {
			size := s.to - s.from
			if s.kept != nil {
				size = uint64(len(s.kept))
			}
			for done := uint64(0); done < size; {
				n := min(uint64(most), size-done)
				first := done
				if done += n; descending {
					first = size - done
				}
				its := list[:n]
				if s.kept != nil {
					its = s.kept[first : first+n]
				} else {
					for i := range its {
						its[i] = s.from + first + uint64(i)
					}
				}
				if !yield(its, s.certain) {
					return
				}
			}
		}
	}
}

// isAll says that all points of the grid are trials.
func (l *Lattice) isAll() bool {
	of, ok := l.runs.(*computed)
	return ok && l.whole && l.earlier == nil && of.all.trials == l.grid.Size()
}

// IsPlace says that the index of every trial is the place of its run.
func (l *Lattice) IsPlace() bool {
	of, ok := l.runs.(*computed)
	return ok && l.isAll() && l.shuffled == nil && len(of.products) == 1 && of.products[0].epochs.Size() == 1
}
