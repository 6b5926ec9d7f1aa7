package selection

import (
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/condition"
	"trellis/results/listing"
)

// index is the name of the field that a trial is told from others by.
const index = "index"

// newLeaf returns the fastest leaf of a condition, and notes the outcomes that it depends on.
func (s *Selection) newLeaf(f *condition.Formula) leaf {
	outcomes, points, indexed := []string(nil), []string(nil), false
	for _, name := range f.Condition.Uses() {
		switch {
		case name == index:
			indexed = true
		case s.field(name).IsOutcome():
			outcomes = append(outcomes, name)
			if !slices.Contains(s.outcomes, name) {
				s.outcomes = append(s.outcomes, name)
			}
		default:
			points = append(points, name)
		}
	}
	other := &otherLeaf{s: s, condition: f.Condition, points: len(points)}
	if indexed {
		other.points++
	}
	switch {
	case !indexed && len(outcomes) == 0 && len(points) == 0:
		return other.of(s.fields, &trellisv1.Trial{})
	case !indexed && len(outcomes) == 0:
		if its := s.newPointLeaf(f.Condition, points); its != nil {
			return its
		}
	case !indexed && len(points) == 0 && len(outcomes) == 1 && outcomes[0] == "state":
		return newStateLeaf(s.fields, other)
	case f.Comparison != nil && (s.field(f.Comparison.Variable).IsNumber() || s.field(f.Comparison.Variable).IsWhole()):
		return newCompareLeaf(*s.field(f.Comparison.Variable), f.Comparison, other)
	}
	return other
}

// constant is what all trials are.
type constant int

const (
	undecided constant = iota
	always
	never
)

// constantOf returns what the result of a condition is.
func constantOf(met bool, err error) constant {
	switch {
	case err != nil:
		return undecided
	case met:
		return always
	}
	return never
}

func (c constant) opposite() constant {
	switch c {
	case always:
		return never
	case never:
		return always
	}
	return c
}

func (c constant) decide(_ *rows, live, met, not Bits) {
	switch c {
	case always:
		copy(met, live)
	case never:
		copy(not, live)
	}
}

func (constant) cost() int { return 0 }

// pointLeaf is a condition of parameters. It is computed once for each combination of their values.
type pointLeaf struct {
	s         *Selection
	condition *condition.Condition
	// of are the products of the grids.
	of []pointsOf
}

// pointsOf are the combinations of the values that a product has on some axes: the position of one is the sum of its axes'
// values times their steps.
type pointsOf struct {
	axes  []axis
	steps []uint64
	// results are constants, or -1 where nobody has computed them yet.
	results []int8
}

// maxCombinations is how many combinations of values are kept for a condition. There are at most so many trials.
const maxCombinations = 1 << 20

// newPointLeaf returns nil if there are too many combinations.
func (s *Selection) newPointLeaf(of *condition.Condition, parameters []string) leaf {
	its := &pointLeaf{s: s, condition: of, of: make([]pointsOf, len(s.points.products))}
	for k := range its.of {
		p, n := &its.of[k], uint64(1)
		for _, axis := range s.points.products[k].axes {
			if !slices.Contains(parameters, axis.name) {
				continue
			}
			p.axes, p.steps = append(p.axes, axis), append(p.steps, n)
			if n *= axis.size; n > maxCombinations {
				return nil
			}
		}
		p.results = slices.Repeat([]int8{-1}, int(n))
	}
	return its
}

func (*pointLeaf) cost() int { return 1 }

func (l *pointLeaf) decide(r *rows, live, met, not Bits) {
	k := r.product
	if k >= 0 && l.of[k].same(r.lowest-l.s.points.products[k].from, r.highest-l.s.points.products[k].from) {
		l.at(k, r.lowest).decide(r, live, met, not)
		return
	}
	for i := range live.Each {
		if k = r.product; k < 0 {
			k = l.s.points.find(r.indexes[i])
		}
		switch l.at(k, r.indexes[i]) {
		case always:
			met.set(i)
		case never:
			not.set(i)
		}
	}
}

// same says whether the points from one to another have the same values on the axes.
func (p *pointsOf) same(lowest, highest uint64) bool {
	for _, axis := range p.axes {
		if lowest/axis.weight != highest/axis.weight {
			return false
		}
	}
	return true
}

func (l *pointLeaf) at(k int, index uint64) constant {
	p, position := &l.of[k], uint64(0)
	rest := index - l.s.points.products[k].from
	for i, axis := range p.axes {
		position += axis.at(rest) * p.steps[i]
	}
	if its := p.results[position]; its >= 0 {
		return constant(its)
	}
	point := &trellisv1.Trial{Index: index, Parameters: l.s.points.lattice.At(index)}
	met, _, err := l.condition.Meets(listing.ValuesOf(point, l.s.fields))
	its := constantOf(met, err)
	p.results[position] = int8(its)
	return its
}

// stateLeaf is a condition of the state. It is computed once for each.
type stateLeaf struct {
	*otherLeaf
	results map[uint64]constant
}

func newStateLeaf(fields []listing.Field, other *otherLeaf) *stateLeaf {
	l := &stateLeaf{other, map[uint64]constant{}}
	for state := range trellisv1.TrialState_name {
		l.results[uint64(state)] = other.of(fields, &trellisv1.Trial{State: trellisv1.TrialState(state)})
	}
	return l
}

func (*stateLeaf) cost() int { return 1 }

func (l *stateLeaf) decide(r *rows, live, met, not Bits) {
	states := r.columns.Numbers("state")
	if lowest, highest, missing := states.Bounds(); lowest == highest && !missing {
		l.results[lowest].decide(r, live, met, not)
		return
	}
	for i := range live.Each {
		switch l.results[states.At(i)] {
		case always:
			met.set(i)
		case never:
			not.set(i)
		}
	}
}

// compareLeaf compares an outcome, or the index, with a number.
type compareLeaf struct {
	*otherLeaf
	field      listing.Field
	comparison *condition.Comparison
	// lowest and highest bound the orders of numbers that compare so: of those that don't if the relation is NotEqual.
	lowest, highest uint64
}

func newCompareLeaf(field listing.Field, comparison *condition.Comparison, other *otherLeaf) *compareLeaf {
	l := &compareLeaf{otherLeaf: other, field: field, comparison: comparison}
	relation := comparison.Relation
	if relation == condition.NotEqual {
		relation = condition.Equal
	}
	if field.IsNumber() {
		l.lowest, l.highest = field.Orders(relation, comparison.Number)
	}
	return l
}

func (*compareLeaf) cost() int { return 2 }

func (l *compareLeaf) decide(r *rows, live, met, not Bits) {
	// Whole numbers beyond are not exact as floating-point numbers.
	const exact = 1 << 53
	switch {
	case l.field.Name == index:
		if r.highest > exact {
			l.otherLeaf.decide(r, live, met, not)
			return
		}
		if low := l.holds(r.lowest); low == l.holds(r.highest) && l.comparison.Relation > condition.NotEqual {
			constantOf(low, nil).decide(r, live, met, not)
			return
		}
		for i := range live.Each {
			set(l.holds(r.indexes[i]), i, met, not)
		}
	case l.field.IsWhole():
		numbers := r.columns.Numbers(l.field.Name)
		lowest, highest, missing := numbers.Bounds()
		if lowest == highest && !missing {
			constantOf(l.holds(lowest), nil).decide(r, live, met, not)
			return
		}
		for i := range live.Each {
			set(l.holds(numbers.At(i)), i, met, not)
		}
	default:
		l.decideNumbers(r, live, met, not)
	}
}

func set(is bool, i int, met, not Bits) {
	if is {
		met.set(i)
	} else {
		not.set(i)
	}
}

// holds compares a whole number.
func (l *compareLeaf) holds(number uint64) bool {
	if number == listing.Missing {
		number = 0
	}
	its := float64(number)
	switch l.comparison.Relation {
	case condition.Equal:
		return its == l.comparison.Number
	case condition.NotEqual:
		return its != l.comparison.Number
	case condition.Less:
		return its < l.comparison.Number
	case condition.LessOrEqual:
		return its <= l.comparison.Number
	case condition.Greater:
		return its > l.comparison.Number
	default:
		return its >= l.comparison.Number
	}
}

// decideNumbers compares numbers by their orders. What is missing is not a number, which differs from all.
func (l *compareLeaf) decideNumbers(r *rows, live, met, not Bits) {
	if l.comparison.Relation == condition.NotEqual {
		met, not = not, met
	}
	numbers := r.columns.Numbers(l.field.Name)
	lowest, highest, missing := numbers.Bounds()
	switch {
	case l.lowest > l.highest || lowest > highest || highest < l.lowest || lowest > l.highest:
		copy(not, live)
	case l.lowest <= lowest && highest <= l.highest && !missing:
		copy(met, live)
	default:
		for i := range live.Each {
			at := numbers.At(i)
			set(l.lowest <= at && at <= l.highest, i, met, not)
		}
	}
}

// otherLeaf is a condition that is computed for each row.
type otherLeaf struct {
	s         *Selection
	condition *condition.Condition
	// points is how many parameters it depends on, with the index.
	points int
	// untouched is what all rows are besides, if they have no columns.
	untouched *trellisv1.Trial
}

func (*otherLeaf) cost() int { return 3 }

func (l *otherLeaf) decide(r *rows, live, met, not Bits) {
	values := &rowValues{leaf: l, rows: r}
	for i := range live.Each {
		values.row, values.trial = i, trellisv1.Trial{Index: r.indexes[i]}
		if l.untouched != nil {
			values.trial.State = l.untouched.State
		}
		is, _, err := l.condition.Meets(values)
		if err == nil {
			set(is, i, met, not)
		}
	}
}

// of returns what a condition is for one trial.
func (l *otherLeaf) of(fields []listing.Field, trial *trellisv1.Trial) constant {
	met, _, err := l.condition.Meets(listing.ValuesOf(trial, fields))
	return constantOf(met, err)
}

// rowValues gives a condition the fields of a row.
type rowValues struct {
	leaf *otherLeaf
	rows *rows
	row  int
	// trial has what does not come from columns.
	trial trellisv1.Trial
}

// Value implements condition.Values.
func (v *rowValues) Value(name string) (any, bool) {
	at := slices.IndexFunc(v.leaf.s.fields, func(f listing.Field) bool { return f.Name == name })
	if at < 0 {
		return nil, false
	}
	field := &v.leaf.s.fields[at]
	if field.IsOutcome() && name != index && v.rows.columns != nil {
		return field.ValueOf(v.rows.columns.Numbers(name).At(v.row)), true
	}
	if !field.IsOutcome() && v.trial.Parameters == nil {
		v.trial.Parameters = v.leaf.s.points.lattice.At(v.trial.Index)
	}
	return listing.ValuesOf(&v.trial, v.leaf.s.fields).Value(name)
}

var _ condition.Values = (*rowValues)(nil)
