package selection

import (
	"trellis/results/lattice"
	"trellis/results/listing"
)

// atOnce is how many points are decided about at once.
const atOnce = 256

// Count returns how many trials of a lattice meet the selection, which must be one of untouched trials or OfPoint. ok is
// false if that can't be computed for some. It ends with the error of stop, if that returns one.
func (s *Selection) Count(l *lattice.Lattice, stop func() error) (n uint64, ok bool, err error) {
	for indexes, certain := range l.Candidates(0, atOnce, false) {
		if err := stop(); err != nil {
			return 0, false, err
		}
		met, undecided := s.Points(indexes)
		if !certain {
			for i := range met.Each {
				if _, _, is := l.Find(indexes[i]); is {
					n++
				}
			}
		} else {
			n += met.Count()
		}
		for i := range undecided.Each {
			if _, _, is := l.Find(indexes[i]); is || certain {
				return 0, false, nil
			}
		}
	}
	return n, true, nil
}

// mayBeUntouched says whether untouched trials may have numbers from lowest to highest, in an order by what becomes of trials:
// all of them have the same.
func (p *Places) mayBeUntouched(lowest, highest uint64) bool {
	number := p.levels[0][0].numbers[0]
	return lowest <= number && number <= highest
}

// offerPoints adds to a page the trials of a lattice that meet a selection, of which Count must be known, and are after a
// place: without those whose runs are at places that skip says, if it is not nil.
func (p *Places) offerPoints(
	page *listing.Top, after listing.Place, s *Selection, l *lattice.Lattice, skip func(place uint32) bool, stop func() bool,
) {
	page.Last() // So that the bound is as close as it can be.
	if !p.Follow() && !p.mayBeUntouched(after.Number, page.Bound().Number) {
		return
	}
	from, wanted := uint64(0), page.Wanted()
	if p.byIndex && !p.descending && after != (listing.Place{}) {
		from = after.Index + 1
	}
	isPlace, last := l.IsPlace(), page.Bound()
	for indexes, certain := range l.Candidates(from, atOnce, p.byIndex && p.descending) {
		met, _ := s.Points(indexes)
		for i := range met.Each {
			number := p.number(indexes[i])
			if number < after.Number || number > last.Number {
				continue
			}
			at := p.place(number, indexes[i])
			if !at.After(after) || !last.After(at) {
				continue
			}
			switch place, is := uint32(indexes[i]), true; {
			case skip == nil && certain:
			default:
				if !isPlace {
					place, _, is = l.Find(indexes[i])
				}
				if !is || skip != nil && skip(place) {
					continue
				}
			}
			page.Offer(at)
			last = page.Bound()
			wanted--
		}
		if wanted <= 0 && p.byIndex || stop() {
			return
		}
	}
}
