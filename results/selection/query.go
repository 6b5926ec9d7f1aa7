package selection

import (
	"iter"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/catalog"
	"trellis/results/columns"
	"trellis/results/condition"
	"trellis/results/kept"
	"trellis/results/lattice"
	"trellis/results/listing"
)

// Query is a page of a study's trials that meet a filter. Callers set Page, Order and After, call Begin, add all parts that
// have been touched, and then what is untouched.
type Query struct {
	Page  *listing.Top
	Order listing.Order
	// After is the key before the page, nil if it is the first.
	After []byte
	// Total is how many trials meet the filter, of those that have been added.
	Total uint64

	expression string
	meets      listing.Filter
	c          *catalog.Catalog
	// selects is nil if the parameters of the study's trials don't follow from their indexes.
	selects *Selection
	places  *Places
	after   listing.Place
	// ofPoint says that it does not matter what has become of trials: neither to the filter nor to the order.
	ofPoint bool
	// open selects among untouched trials. It is nil if none of them meets the filter.
	open *Selection
	// counted says that open is counted in all trials that follow from the spec, and less in the touched ones. Otherwise
	// untouched trials are looked at: few are left, or uncountable says that the filter can't be computed for some.
	counted, uncountable bool
}

// NewQuery returns a query of a study with a catalog. Errors are those of listing.NewFilter.
func NewQuery(expression string, fields []listing.Field, c *catalog.Catalog) (q *Query, err error) {
	q = &Query{expression: expression, c: c}
	if condition.IsEmpty(expression) || c.Base == nil || !c.Base.Disjoint() {
		q.meets, err = listing.NewFilter(expression, fields)
		return q, err
	}
	if q.selects, err = New(expression, fields, c.Base.Lattice); err != nil {
		return nil, err
	}
	q.meets = q.selects.Meets
	return q, nil
}

// Follows says that the parameters of the trials that follow from the spec follow from their indexes.
func (q *Query) Follows() bool { return q.selects != nil }

// KnowsTouched says that trials which follow from the spec need not be added if they are touched: AddUntouched adds them.
func (q *Query) KnowsTouched() bool { return q.ofPoint && !q.uncountable }

// ReadsUntouched says that untouched trials must be added one by one, instead of by AddUntouched.
func (q *Query) ReadsUntouched() bool { return q.selects == nil || q.uncountable }

// Descends says that parts are best added in the reverse order of places: the page has the highest indexes first.
func (q *Query) Descends() bool {
	ok, descending := q.Order.ByIndex()
	return ok && descending
}

// Begin says whether few runs are untouched. What was counted once is kept with what follows the study. Nobody waits any more
// when done is closed: stop then returns why.
func (q *Query) Begin(few bool, lasting *kept.Kept, done <-chan struct{}, stop func() error) error {
	if q.selects == nil {
		return nil
	}
	if q.places = q.selects.Places(q.Order); q.After != nil {
		q.after = listing.Key(q.After).Place()
	}
	q.ofPoint = q.selects.OfPoint() && q.places.Follow()
	open, none := q.selects.Untouched(q.state())
	if none {
		return nil
	}
	q.open, q.counted = open, q.ofPoint || !few
	if !q.counted {
		return nil
	}
	n, ok, err := q.count(lasting, done, stop)
	q.Total, q.uncountable = n, !ok
	q.counted = ok
	return err
}

// state is that of untouched trials.
func (q *Query) state() trellisv1.TrialState { return q.Order.Untouched(nil, 0).State }

// count counts the trials that follow from the spec and would meet the filter if nobody had touched them.
func (q *Query) count(lasting *kept.Kept, done <-chan struct{}, stop func() error) (n uint64, ok bool, err error) {
	type key struct {
		of     *lattice.Lattice
		filter string
		state  trellisv1.TrialState
	}
	type count struct {
		n  uint64
		ok bool
	}
	its, err := kept.Once(lasting, key{q.c.Base.Lattice, q.expression, q.state()}, done, stop, func() (count, error) {
		n, ok, err := q.open.Count(q.c.Base.Lattice, stop)
		return count{n, ok}, err
	})
	return its.n, its.ok, err
}

// AddTrials adds those trials that meet the filter.
func (q *Query) AddTrials(trials iter.Seq[*trellisv1.Trial]) error {
	for trial := range trials {
		match, err := q.meets(trial)
		if err != nil {
			return err
		}
		if match {
			q.Total++
			q.Page.AddAfter(q.After, q.Order.Key(trial), trial)
		}
	}
	return nil
}

// Part are touched trials.
type Part struct {
	Trials iter.Seq[*trellisv1.Trial]
	// InBase says that they belong to runs that follow from the spec, and Reads that some of them don't follow from it. Columns
	// are those of the trials, in their order, if InBase.
	InBase, Reads bool
	Columns       *columns.Columns
}

// AddPart adds touched trials.
func (q *Query) AddPart(p Part) error {
	if !p.InBase {
		return q.AddTrials(p.Trials)
	}
	if p.Reads || q.selects.Reads(p.Columns) {
		if q.counted {
			met, _ := q.open.Points(slices.DeleteFunc(p.Columns.Indexes(nil), q.c.ListsTrial))
			q.Total -= met.Count()
		}
		return q.AddTrials(p.Trials)
	}
	if q.counted && q.selects.OfPoint() && !q.places.within(q.Page, q.after, p.Columns) {
		return nil // They are counted already, and the page has enough before or after them.
	}
	met, undecided := q.selects.Touched(p.Columns)
	if !undecided.none() {
		i := 0
		for trial := range p.Trials {
			if undecided.Has(i) {
				if err := q.AddTrials(slices.Values([]*trellisv1.Trial{trial})); err != nil {
					return err
				}
			}
			i++
		}
	}
	n := met.Count()
	q.Total += n
	q.places.Offer(q.Page, q.after, p.Columns, q.selects.rows.indexes, met)
	if q.counted {
		if !q.selects.OfPoint() {
			met, _ = q.open.Points(q.selects.rows.indexes)
			n = met.Count()
		}
		q.Total -= n
	}
	return nil
}

// AddUntouched adds the untouched trials that follow from the spec. untouched are the places of their runs, touched says
// whether one is none of them, and stop that nobody waits any more.
func (q *Query) AddUntouched(untouched iter.Seq[uint32], touched func(place uint32) bool, stop func() bool) error {
	switch {
	case q.open == nil:
	case q.ofPoint:
		q.places.offerPoints(q.Page, q.after, q.open, q.c.Base.Lattice, nil, stop)
	case q.counted:
		q.places.offerPoints(q.Page, q.after, q.open, q.c.Base.Lattice, touched, stop)
	default:
		var indexes []uint64
		for place := range untouched {
			if indexes = append(indexes, q.c.Base.Indexes(place)...); len(indexes) < atOnce {
				continue
			}
			if err := q.addOpen(indexes); err != nil || stop() {
				return err
			}
			indexes = indexes[:0]
		}
		return q.addOpen(indexes)
	}
	return nil
}

// addOpen adds untouched trials by their indexes.
func (q *Query) addOpen(indexes []uint64) error {
	met, undecided := q.open.Points(indexes)
	for i := range undecided.Each {
		trial := q.Order.Untouched(q.c.Base.At(indexes[i]), indexes[i])
		if err := q.AddTrials(slices.Values([]*trellisv1.Trial{trial})); err != nil {
			return err
		}
	}
	q.Total += met.Count()
	for i := range met.Each {
		if at := q.places.At(indexes[i]); at.After(q.after) && q.Page.Bound().After(at) {
			q.Page.Offer(at)
		}
	}
	return nil
}
