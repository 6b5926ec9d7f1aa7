package selection

import (
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/columns"
	"trellis/results/condition"
	"trellis/results/lattice"
	"trellis/results/listing"
)

// Selection says which of a study's trials meet a filter. It is not safe for concurrent use.
type Selection struct {
	whole  listing.Filter
	root   *node
	fields []listing.Field
	points *points
	// outcomes are the fields that it depends on of what becomes of a trial.
	outcomes []string
	rows     rows
}

// New compiles a filter, which must not be empty, over fields. l has the trials whose parameters follow from their indexes:
// it must be Disjoint. Errors are those of listing.NewFilter.
func New(expression string, fields []listing.Field, l *lattice.Lattice) (*Selection, error) {
	formula, whole, err := listing.FormulaOf(expression, fields)
	if err != nil {
		return nil, err
	}
	s := &Selection{whole: whole, fields: fields, points: newPoints(l)}
	s.root = s.node(formula)
	return s, nil
}

// Meets says whether a trial meets the filter.
func (s *Selection) Meets(trial *trellisv1.Trial) (bool, error) { return s.whole(trial) }

// OfPoint says that the filter depends on nothing that becomes of a trial.
func (s *Selection) OfPoint() bool { return len(s.outcomes) == 0 }

// field returns one of the fields.
func (s *Selection) field(name string) *listing.Field {
	return &s.fields[slices.IndexFunc(s.fields, func(f listing.Field) bool { return f.Name == name })]
}

// node is a formula.
type node struct {
	join condition.Join
	of   []*node
	// leaf is that of a node that joins none.
	leaf leaf
}

// leaf decides a condition.
type leaf interface {
	// decide sets a bit in met for those of the live rows that meet the condition, and in not for those that don't: in
	// neither, if that can't be computed.
	decide(r *rows, live, met, not Bits)
	// cost orders leaves: the cheapest comes first.
	cost() int
}

// node takes notes of the outcomes that the formula depends on.
func (s *Selection) node(f *condition.Formula) *node {
	n := &node{join: f.Join}
	if f.Join == condition.JoinsNone {
		n.leaf = s.newLeaf(f)
		return n
	}
	for _, part := range f.Of {
		n.of = append(n.of, s.node(part))
	}
	n.sort()
	return n
}

// sort puts the cheapest parts first: what they decide need not be looked at any more.
func (n *node) sort() {
	slices.SortStableFunc(n.of, func(a, b *node) int { return a.cost() - b.cost() })
}

func (n *node) cost() (cost int) {
	if n.leaf != nil {
		return n.leaf.cost()
	}
	for _, part := range n.of {
		cost = max(cost, part.cost())
	}
	return cost
}

// decide decides the live rows: see leaf. What it returns is valid until the rows are released.
func (n *node) decide(r *rows, live Bits) (met, not Bits) {
	met, not = r.take(), r.take()
	switch n.join {
	case condition.JoinsNone:
		n.leaf.decide(r, live, met, not)
	case condition.JoinsNot:
		not, met = n.of[0].decide(r, live)
	case condition.JoinsAnd:
		copy(met, live)
		n.join2(r, live, met, not, false)
	case condition.JoinsOr:
		copy(not, live)
		n.join2(r, live, not, met, true)
	}
	return met, not
}

// join2 decides rows by parts that each may decide: those for which it is not so are in all of them what all is.
func (n *node) join2(r *rows, live, all, any Bits, or bool) {
	open := r.take()
	copy(open, live)
	for _, part := range n.of {
		if open.none() {
			break
		}
		met, not := part.decide(r, open)
		if or {
			met, not = not, met
		}
		for w := range all {
			all[w] &= met[w]
			any[w] |= not[w]
			open[w] &^= not[w]
		}
	}
	// Rows that a part has decided were not looked at by the next ones.
	for w := range all {
		all[w] &^= any[w]
	}
}

// Untouched returns the selection of trials that nobody has given anything to, and that have this state. It depends on
// parameters and indexes alone. If it is decided what all of these are, none says that none meets it.
func (s *Selection) Untouched(state trellisv1.TrialState) (of *Selection, none bool) {
	of = &Selection{whole: s.whole, fields: s.fields, points: s.points}
	of.root = of.untouched(s.root, &trellisv1.Trial{State: state})
	fixed, ok := of.root.leaf.(constant)
	return of, ok && fixed == never
}

func (s *Selection) untouched(n *node, as *trellisv1.Trial) *node {
	if n.leaf == nil {
		its := &node{join: n.join}
		for _, part := range n.of {
			its.of = append(its.of, s.untouched(part, as))
		}
		its.sort()
		return its.simplified()
	}
	switch its := n.leaf.(type) {
	case *stateLeaf:
		return &node{leaf: its.of(s.fields, as)}
	case *compareLeaf:
		if its.field.Name != index {
			return &node{leaf: its.of(s.fields, as)}
		}
	case *otherLeaf:
		if its.points == 0 {
			return &node{leaf: its.of(s.fields, as)}
		}
		fixed := *its
		fixed.untouched = as
		return &node{leaf: &fixed}
	}
	return n
}

// simplified returns a node that is the same for all rows as a constant.
func (n *node) simplified() *node {
	decisive := constant(never)
	switch n.join {
	case condition.JoinsNot:
		if its, ok := n.of[0].leaf.(constant); ok {
			return &node{leaf: its.opposite()}
		}
		return n
	case condition.JoinsOr:
		decisive = always
	}
	var left []*node
	for _, part := range n.of {
		switch its, ok := part.leaf.(constant); {
		case ok && its == decisive:
			return part
		case !ok || its == undecided:
			left = append(left, part)
		}
	}
	switch len(left) {
	case 0:
		return &node{leaf: decisive.opposite()}
	case 1:
		return left[0]
	}
	return &node{join: n.join, of: left}
}

// Reads says whether it takes more to decide about trials than what columns have of them.
func (s *Selection) Reads(c *columns.Columns) bool {
	for _, name := range s.outcomes {
		if !c.Numbers(name).Follow() {
			return true
		}
	}
	return false
}

// Touched decides about the trials that have columns, whose parameters must follow from their indexes. For those that are
// undecided, the filter can't be computed: Meets says why. Both are valid until the next call.
func (s *Selection) Touched(c *columns.Columns) (met, undecided Bits) {
	s.rows.indexes = c.Indexes(s.rows.indexes[:0])
	return s.decide(c)
}

// Points is Touched of untouched trials, of a selection that Untouched has returned, or one that is OfPoint.
func (s *Selection) Points(indexes []uint64) (met, undecided Bits) {
	s.rows.indexes = append(s.rows.indexes[:0], indexes...)
	return s.decide(nil)
}

func (s *Selection) decide(c *columns.Columns) (met, undecided Bits) {
	r := &s.rows
	r.columns = c
	r.begin(s.points)
	if len(r.indexes) == 0 {
		return nil, nil
	}
	live := r.take()
	live.fill(len(r.indexes))
	met, not := s.root.decide(r, live)
	undecided = r.take()
	for w := range undecided {
		undecided[w] = live[w] &^ (met[w] | not[w])
	}
	return met, undecided
}

// Bits has a bit for each of some trials.
type Bits []uint64

// Has says whether a trial's bit is set.
func (b Bits) Has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }

func (b Bits) set(i int) { b[i/64] |= 1 << (i % 64) }

// Each yields the trials whose bits are set.
func (b Bits) Each(yield func(i int) bool) {
	for w, word := range b {
		for ; word != 0; word &= word - 1 {
			if !yield(w*64 + trailing(word)) {
				return
			}
		}
	}
}

// Count returns how many bits are set.
func (b Bits) Count() (n uint64) {
	for _, word := range b {
		n += ones(word)
	}
	return n
}

func (b Bits) none() bool {
	for _, word := range b {
		if word != 0 {
			return false
		}
	}
	return true
}

// fill sets the first n bits.
func (b Bits) fill(n int) {
	for w := range b {
		b[w] = ^uint64(0)
	}
	if rest := n % 64; rest != 0 {
		b[n/64] = 1<<rest - 1
	}
}
