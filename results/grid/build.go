package grid

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"buf.build/go/protovalidate"

	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// MaxTrials is the maximum number of points of the union of a study's grids, including seeds; with a budget, that
	// of the trials within the budget.
	MaxTrials = 1_000_000
	// MaxAxisValues is the maximum number of values of an axis, by the rules of its message.
	MaxAxisValues = 10_000
)

// builder reads a spec's axes and collects what is wrong with them.
type builder struct {
	violations []*protovalidate.Violation
}

func (b *builder) err() error {
	if len(b.violations) == 0 {
		return nil
	}
	return &protovalidate.ValidationError{Violations: b.violations}
}

// refuse notes what is wrong with the field of a spec that path leads to: names, and indices of repeated fields.
func (b *builder) refuse(rule, message string, path ...any) {
	b.violations = append(b.violations, violation(rule, message, path...))
}

// build returns the grid of a spec with defaults, or nil if something is wrong.
func (b *builder) build(spec *trellisv1.StudySpec) *Grid {
	if b.checkSize(spec); len(b.violations) > 0 {
		return nil
	}
	g := &Grid{
		names: Names(spec), kinds: map[string]trellisv1.Kind{},
		model: spec.GetModel(), program: spec.GetProgram() != nil, apart: runsApart(spec.GetProgram()),
	}
	ids := identifier{}
	seeds := ids.dimension(Seed, b.values(spec.GetSeeds(), Seeds))
	g.kinds[Seed] = trellisv1.Kind_KIND_INTEGER
	for i := range spec.GetGrid() {
		p := Product{Offset: g.size}
		points := uint64(1)
		for _, its := range axesOf(spec, i) {
			d := ids.dimension(its.name, b.values(its.axis, its.path...))
			if its.name == MaxEpochs {
				for _, epochs := range d.axis.values {
					p.longest = max(p.longest, uint32(numberOf(epochs)))
				}
			}
			b.agree(g.kinds, its, d.axis.values)
			p.Dimensions = append(p.Dimensions, d)
		}
		p.Dimensions = append(p.Dimensions, seeds)
		if p.longest == 0 && len(b.violations) == 0 {
			b.refuse("required", "value is required", axisPath(i, MaxEpochs)...)
		}
		for _, d := range p.Dimensions {
			points *= d.size()
		}
		g.size += points
		g.products = append(g.products, p)
	}
	if len(g.products) == 0 {
		b.refuse("grid.empty", "a study needs at least one grid", "grid")
	}
	if len(b.violations) == 0 {
		b.addWhere(g, spec)
	}
	if len(b.violations) == 0 {
		b.checkListed(g, spec)
	}
	if len(b.violations) > 0 {
		return nil
	}
	if g.program {
		g.unifyKinds()
	}
	return g
}

// identifier gives the values of parameters, by name, ids: the same value has the same in all grids of a spec.
type identifier map[string]map[ValueKey]uint32

func (all identifier) dimension(name string, a axis) Dimension {
	known := all[name]
	if known == nil {
		known = make(map[ValueKey]uint32, len(a.values))
		all[name] = known
	}
	d := Dimension{name, a, make([]uint32, len(a.values)), make(map[uint32]uint32, len(a.values))}
	for digit, value := range a.values {
		key := KeyOf(value)
		id, ok := known[key]
		if !ok {
			id = uint32(len(known))
			known[key] = id
		}
		d.ids[digit], d.digits[id] = id, uint32(digit)
	}
	return d
}

// unifyKinds makes whole numbers numbers if another grid has numbers on their axis: a program gets an axis in one kind.
func (g *Grid) unifyKinds() {
	for _, p := range g.products {
		for _, d := range p.Dimensions {
			if g.kinds[d.Name] != trellisv1.Kind_KIND_NUMBER {
				continue
			}
			for i, value := range d.values {
				d.values[i] = asNumber(value)
			}
		}
	}
}

// agree notes the kind of an axis's values, and refuses it if other grids have values of another kind on the axis.
func (b *builder) agree(kinds map[string]trellisv1.Kind, its namedAxis, values []*trellisv1.Value) {
	if len(values) == 0 {
		return
	}
	known, kind := kinds[its.name], KindOf(values[0])
	switch {
	case known == trellisv1.Kind_KIND_UNSPECIFIED || known == kind:
		kinds[its.name] = kind
	case isNumeric(known) && isNumeric(kind):
		kinds[its.name] = trellisv1.Kind_KIND_NUMBER
	default:
		b.refuse("axis.kind", fmt.Sprintf("%s has %s here and %s in a grid before: all its values must be of one kind",
			its.name, kindsInWords[kind], kindsInWords[known]), its.path...)
	}
}

func isNumeric(kind trellisv1.Kind) bool {
	return kind == trellisv1.Kind_KIND_NUMBER || kind == trellisv1.Kind_KIND_INTEGER
}

// kindsInWords are the kinds of values as errors name them.
var kindsInWords = map[trellisv1.Kind]string{
	trellisv1.Kind_KIND_NUMBER:  "numbers",
	trellisv1.Kind_KIND_INTEGER: "whole numbers",
	trellisv1.Kind_KIND_TEXT:    "texts",
	trellisv1.Kind_KIND_BOOLEAN: "booleans",
}

// kindInWords are the kinds of one value.
var kindInWords = map[trellisv1.Kind]string{
	trellisv1.Kind_KIND_NUMBER:  "a number",
	trellisv1.Kind_KIND_INTEGER: "a whole number",
	trellisv1.Kind_KIND_TEXT:    "a text",
	trellisv1.Kind_KIND_BOOLEAN: "a boolean",
}

// numberOf is a numeric value's number, and NaN for others.
func numberOf(value *trellisv1.Value) float64 {
	x, _ := value.Numeric()
	return x
}

// namedAxis is an axis as a spec has it; path leads to it.
type namedAxis struct {
	name string
	axis *trellisv1.Axis
	path []any
}

// axesOf are those of one grid of a spec, in the order of the digits: among its own the fixed parameters, which have a
// single value, but for those that the grid itself has.
func axesOf(spec *trellisv1.StudySpec, grid int) (axes []namedAxis) {
	its := spec.GetGrid()[grid]
	for name, axis := range its.GetAxes() {
		axes = append(axes, namedAxis{name, axis, axisPath(grid, name)})
	}
	for name, value := range spec.GetFixed() {
		if its.GetAxes()[name] == nil {
			axes = append(axes, namedAxis{name, trellisv1.ListOf(value), []any{"fixed", mapKey(name)}})
		}
	}
	slices.SortFunc(axes, func(a, b namedAxis) int { return CompareNames(a.name, b.name) })
	return axes
}

// valuePath leads to a value of the list of the axis that path leads to. A fixed parameter is its only value itself.
func valuePath(path []any, list string, i int) []any {
	if path[0] == "fixed" {
		return path
	}
	return append(slices.Clone(path), list, i)
}

// axisPath leads to an axis of a grid.
func axisPath(grid int, axis string) []any { return []any{"grid", grid, "axes", mapKey(axis)} }

// checkSize counts the trials without looking at a single value.
func (b *builder) checkSize(spec *trellisv1.StudySpec) {
	seeds := valueCount(spec.GetSeeds())
	before := len(b.violations)
	most, unless := uint64(MaxTrials), " without a budget such as {trials: 500}"
	if limited(spec.GetBudget()) {
		most, unless = math.MaxUint64-1, ""
	} else if spec.GetBudget() != nil {
		unless = fmt.Sprintf(" unless its budget has at most as many trials or epochs: budget: {trials: %d}", MaxTrials)
	}
	var points, trials count
	for i := range spec.GetGrid() {
		here := count{1}
		var factors []string
		for _, its := range axesOf(spec, i) {
			n := valueCount(its.axis)
			here.times(n)
			if n != 1 {
				factors = append(factors, grouped(n)+" "+its.name)
			}
		}
		if here.n > most {
			b.refuse("grid.size", fmt.Sprintf("this grid has %s points (%s); a study has at most %s%s",
				here, strings.Join(factors, " x "), grouped(most), unless), "grid", i)
		}
		points.plus(here.n)
		here.times(seeds)
		trials.plus(here.n)
	}
	if trials.n > most && len(b.violations) == before {
		b.refuse("grid.size", fmt.Sprintf("the study has %s trials (%s points of its grids x %s seeds); a study has at most %s%s",
			trials, points, grouped(seeds), grouped(most), unless), "grid")
	}
}

// limited says whether a budget keeps the number of trials within MaxTrials, whatever the grid is: a run has at least
// as many epochs as trials.
func limited(budget *trellisv1.Budget) bool {
	within := func(n uint64) bool { return 0 < n && n <= MaxTrials }
	return within(budget.GetTrials()) || within(budget.GetEpochs())
}

// valueCount returns how many values an axis says that it has.
func valueCount(a *trellisv1.Axis) uint64 {
	if r, _, _ := rangeOf(a); r != nil {
		return uint64(r.GetCount())
	}
	if a.GetStep() != nil {
		return stepCount(a.GetStep())
	}
	return uint64(a.Listed())
}

// values reads an axis: its values in its order. The points of a range are integers if all of them are whole.
func (b *builder) values(a *trellisv1.Axis, path ...any) axis {
	if n := valueCount(a); n > MaxTrials {
		// A budget limits how many points of a grid are trained, but all values of its axes are read.
		b.refuse("axis.size", fmt.Sprintf("an axis has at most %s values, not %s", grouped(MaxTrials), grouped(n)), path...)
		return axis{}
	}
	if r, field, logarithmic := rangeOf(a); r != nil {
		return b.ranged(r, logarithmic, append(path, field))
	}
	if step := a.GetStep(); step != nil {
		if stepCount(step) < 2 || math.Abs(step.GetFrom()) > maxInteger || math.Abs(step.GetTo()) > maxInteger {
			b.refuse("axis.range", "a range by steps must have at least 2 points", append(path, "step")...)
			return axis{}
		}
		return ascending(b, steps(step), append(path, "step"))
	}
	return b.listed(a, path)
}

// ranged makes an axis of a range's points.
func (b *builder) ranged(r *trellisv1.Range, logarithmic bool, path []any) axis {
	from, to := r.GetFrom(), r.GetTo()
	if !(from < to && -maxInteger <= from && to <= maxInteger && r.GetCount() >= 2) || logarithmic && from <= 0 {
		b.refuse("axis.range", "a range must have at least 2 points and ascend between -2^53 (a logarithmic one: above 0) "+
			"and 2^53", path...)
		return axis{}
	}
	return ascending(b, points(r, logarithmic), path)
}

// numeric are the numbers as values: integers if all are whole.
func numeric(numbers []float64) []*trellisv1.Value {
	values := make([]*trellisv1.Value, len(numbers))
	whole := !slices.ContainsFunc(numbers, func(x float64) bool { return !isWhole(x) })
	for i, x := range numbers {
		if whole {
			values[i] = trellisv1.IntegerValue(int64(x))
		} else {
			values[i] = trellisv1.NumberValue(x)
		}
	}
	return values
}

// ListKind returns the kind of the axis's list: none if it has no list.
func ListKind(a *trellisv1.Axis) trellisv1.Kind {
	switch {
	case len(a.GetNumbers()) > 0:
		return trellisv1.Kind_KIND_NUMBER
	case len(a.GetIntegers()) > 0:
		return trellisv1.Kind_KIND_INTEGER
	case len(a.GetTexts()) > 0:
		return trellisv1.Kind_KIND_TEXT
	case len(a.GetBooleans()) > 0:
		return trellisv1.Kind_KIND_BOOLEAN
	}
	return trellisv1.Kind_KIND_UNSPECIFIED
}

// Mixed says why a value can't be in the axis's list: that is of another kind. It returns "" if it can.
func Mixed(a *trellisv1.Axis, value *trellisv1.Value) string {
	kind, its := ListKind(a), KindOf(value)
	if kind == trellisv1.Kind_KIND_UNSPECIFIED || kind == its || isNumeric(kind) && isNumeric(its) {
		return ""
	}
	return fmt.Sprintf("all values of an axis must be of one kind: %s is not among %s", inWords(value), kindsInWords[kind])
}

// listOf returns the name of the field that has the axis's list.
func listOf(a *trellisv1.Axis) string {
	switch ListKind(a) {
	case trellisv1.Kind_KIND_INTEGER:
		return "integers"
	case trellisv1.Kind_KIND_TEXT:
		return "texts"
	case trellisv1.Kind_KIND_BOOLEAN:
		return "booleans"
	}
	return "numbers"
}

// listed makes an axis of a list.
func (b *builder) listed(a *trellisv1.Axis, path []any) axis {
	list, field := a.GetValues(), listOf(a)
	if len(list) == 0 {
		b.refuse("axis.empty", "an axis needs at least one value", path...)
		return axis{}
	}
	values := make([]*trellisv1.Value, len(list))
	for i, value := range list {
		if problem := Mixed(a, value); problem != "" {
			b.refuse("axis.kind", problem, path...)
			return axis{}
		}
		value, problem := canonical(value)
		if problem != "" {
			b.refuse("axis.value", problem, valuePath(path, field, i)...)
			return axis{}
		}
		values[i] = value
	}
	if ListKind(a) == trellisv1.Kind_KIND_NUMBER {
		for i, value := range values {
			values[i] = asNumber(value)
		}
	}
	read, i, j, ok := newAxis(values)
	if !ok {
		b.refuse("axis.distinct", fmt.Sprintf("%s stands twice in the list, as value %d and as value %d: leave one of them out",
			inWords(values[j]), i+1, j+1), append(path, field)...)
	}
	return read
}

// asNumber returns an integer as the number that it is, and other values as they are.
func asNumber(value *trellisv1.Value) *trellisv1.Value {
	if integer, ok := value.GetKind().(*trellisv1.Value_Integer); ok {
		return trellisv1.NumberValue(float64(integer.Integer))
	}
	return value
}

// inWords writes a value as errors name it.
func inWords(value *trellisv1.Value) string {
	if text, ok := value.GetKind().(*trellisv1.Value_Text); ok {
		return strconv.Quote(text.Text)
	}
	return value.Written()
}

// ascending makes an axis of a range's points, which must be distinct after rounding.
func ascending(b *builder, values []float64, path []any) axis {
	for i := 1; i < len(values); i++ {
		if values[i-1] >= values[i] {
			b.refuse("axis.distinct", fmt.Sprintf(
				"points %d and %d of this range are no longer distinct when they are rounded to %d significant digits: "+
					"choose a smaller count", i, i+1, significantDigits), path...)
			return axis{}
		}
	}
	a, _, _, _ := newAxis(numeric(values))
	return a
}
