package lead

import (
	"fmt"
	"maps"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/resources"
)

// offer has the free slots of a worker that are left.
type offer struct {
	worker *trellisv1.Worker
	left   uint32
}

// slot is the free slot of an offer that is taken when so many are left.
type slot struct {
	*offer
	number uint32
}

// taken says whether the slot is taken, in whatever line.
func (s slot) taken() bool { return s.number > s.left }

// line has free slots in the order in which they are to be filled.
type line struct {
	slots []slot
	// tight says that there are others: of workers that suit, but have no room now.
	tight bool
}

// newLine puts the slots of workers in line: those of workers with the fewest labels first, which others can do without best.
// Of those with equally many, it has the slots of the worker with the most free ones first, so that runs spread over the
// workers. Of each number of labels, it has no more slots than runs can be granted at once.
func newLine(offers []*offer, tight bool) *line {
	its := &line{tight: tight}
	ranks := map[int][]*offer{}
	for _, offer := range offers {
		labels := len(offer.worker.GetLabels())
		ranks[labels] = append(ranks[labels], offer)
	}
	for _, labels := range slices.Sorted(maps.Keys(ranks)) {
		its.add(ranks[labels])
	}
	return its
}

// add adds the slots of workers round by round: each takes one slot of every worker that has so many left.
func (l *line) add(offers []*offer) {
	most, end := uint32(0), len(l.slots)+results.MaxGrants
	for _, offer := range offers {
		most = max(most, offer.left)
	}
	for number := most; number > 0; number-- {
		for _, offer := range offers {
			if len(l.slots) == end {
				return
			}
			if offer.left >= number {
				l.slots = append(l.slots, slot{offer, number})
			}
		}
	}
}

// trim drops the first slots that are taken.
func (l *line) trim() {
	for len(l.slots) > 0 && l.slots[0].taken() {
		l.slots = l.slots[1:]
	}
}

// lines has the lines that were asked for. A worker is in several, and studies that need the same have one in common:
// there may be as many kinds of workers as workers, and as many studies as runs.
type lines struct {
	// of has the lines by study, and shared those of workers that are there for all, by what they must have.
	of     map[string][]*line
	shared map[string]*line
	// all are the workers that are there for all studies, own those for one alone. having has those for all by label.
	all    []*offer
	own    map[string][]*offer
	having map[label][]*offer
}

type label struct{ name, value string }

// linesFor has the lines for a study: first of workers that are there for it alone.
func (p *pairing) linesFor(study string) []*line {
	l := &p.lines
	its, known := l.of[study]
	if known {
		return its
	}
	if l.of == nil {
		l.of, l.shared, l.own = map[string][]*line{}, map[string]*line{}, map[string][]*offer{}
		for _, offer := range p.offers {
			if owner := offer.worker.GetStudy(); owner != "" {
				l.own[owner] = append(l.own[owner], offer)
			} else {
				l.all = append(l.all, offer)
			}
		}
	}
	need := resources.Need{Study: study}
	if p.packing != nil {
		need = p.packing.need(study)
	}
	for _, line := range []*line{newLine(p.serving(need, l.own[study])), p.sharedLine(need)} {
		if len(line.slots) > 0 || line.tight {
			its = append(its, line)
		}
	}
	l.of[study] = its
	return its
}

// candidates has those for all studies that have the rarest of labels.
func (l *lines) candidates(labels map[string]string) []*offer {
	if len(labels) == 0 {
		return l.all
	}
	if l.having == nil {
		l.having = map[label][]*offer{}
		for _, offer := range l.all {
			for name, value := range offer.worker.GetLabels() {
				l.having[label{name, value}] = append(l.having[label{name, value}], offer)
			}
		}
	}
	few := l.all
	for name, value := range labels {
		if its := l.having[label{name, value}]; len(its) < len(few) {
			few = its
		}
	}
	return few
}

// sharedLine has slots of workers that are there for all studies. It is that of all with the labels, unless one in it
// has no room for such a run: building a line for each need takes long if there are many of both.
func (p *pairing) sharedLine(need resources.Need) *line {
	shared, asks := p.lines.shared, need.Asks()
	if shared[asks] == nil {
		plain := resources.Need{Labels: need.Labels, Study: need.Study}
		shared[asks] = newLine(p.serving(plain, p.lines.candidates(need.Labels)))
	}
	its := shared[asks]
	if !need.NeedsRoom() || !slices.ContainsFunc(its.slots, func(its slot) bool {
		return !p.packing.room(its.worker).Fits(need)
	}) {
		return its
	}
	labels := need.Labels
	need.Labels, need.Study = nil, ""
	key := asks + fmt.Sprint(need)
	if shared[key] == nil {
		need.Labels = labels
		shared[key] = newLine(p.serving(need, p.lines.candidates(labels)))
	}
	return shared[key]
}

// serving has the offers of workers that serve, and have room if a run needs that. Those that have none must not be in
// line: a line has an end, and they would keep others out of it. tight says that some have room when they are idle.
func (p *pairing) serving(need resources.Need, offers []*offer) (serving []*offer, tight bool) {
	for _, offer := range offers {
		switch worker := offer.worker; {
		case !need.Serves(worker):
		case p.packing == nil || !need.NeedsRoom():
			serving = append(serving, offer)
		case !need.Suits(worker):
		case p.packing.room(worker).Fits(need):
			serving = append(serving, offer)
		default:
			tight = tight || offer.left > 0
		}
	}
	return serving, tight
}

// left counts the slots that are left.
func (p *pairing) left() (slots int) {
	for _, offer := range p.offers {
		slots += int(offer.left)
	}
	return slots
}
