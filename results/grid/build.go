package grid

import (
	"fmt"
	"maps"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// MaxTrials is the maximum number of points of the union of a study's grids, including batch sizes and seeds.
const MaxTrials = 1_000_000

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
	g := new(Grid)
	var ofStudy []dimension
	for _, its := range axesOfStudy(spec) {
		ofStudy = append(ofStudy, b.dimension(its, its.path...))
	}
	for i, grid := range spec.GetGrid() {
		p := product{own: len(grid.GetAxes()), offset: g.size}
		points := uint64(1)
		for _, its := range axesOfGrid(grid) {
			d := b.dimension(its, append([]any{"grid", i}, its.path...)...)
			if its.name == CommonAxes[MaxEpochs].GetName() {
				for _, epochs := range d.axis.values {
					p.longest = max(p.longest, uint32(epochs))
				}
			}
			p.dimensions = append(p.dimensions, d)
		}
		p.dimensions = append(p.dimensions, ofStudy...)
		for _, d := range p.dimensions {
			points *= d.size()
		}
		g.size += points
		g.products = append(g.products, p)
	}
	if len(g.products) == 0 {
		b.refuse("grid.empty", "a study needs at least one grid", "grid")
	}
	if len(b.violations) > 0 {
		return nil
	}
	return g
}

// namedAxis is an axis as a spec has it.
type namedAxis struct {
	ProtoAxis
	// name is what its field is called; path leads to it, from the spec or from the grid that has it.
	name string
	path []any

	value func(*trellisv1.Parameters) float64
	set   func(*trellisv1.Parameters, float64)
}

// axesOfGrid are those of one grid, in the order of the digits: among the common ones, before max_epochs, those that
// only the model has, by name.
func axesOfGrid(grid *trellisv1.Grid) (axes []namedAxis) {
	for place, axis := range CommonAxes {
		if place == MaxEpochs {
			axes = append(axes, ownAxes(grid)...)
		}
		if axis.InGrid() {
			axes = append(axes, axis.named(grid))
		}
	}
	return axes
}

// axesOfStudy are those that all grids share, in the order of the digits.
func axesOfStudy(spec *trellisv1.StudySpec) (axes []namedAxis) {
	for _, axis := range CommonAxes {
		if !axis.InGrid() {
			axes = append(axes, axis.named(spec))
		}
	}
	return axes
}

func (a *CommonAxis) named(message proto.Message) namedAxis {
	return namedAxis{a.Of(message), a.Field(), []any{a.Field()}, a.Value, a.Set}
}

func ownAxes(grid *trellisv1.Grid) (axes []namedAxis) {
	for _, name := range slices.Sorted(maps.Keys(grid.GetAxes())) {
		value := func(p *trellisv1.Parameters) float64 {
			if value, ok := p.GetValues()[name]; ok {
				return value
			}
			return math.NaN()
		}
		set := func(p *trellisv1.Parameters, value float64) {
			if p.Values == nil {
				p.Values = make(map[string]float64, len(grid.GetAxes()))
			}
			p.Values[name] = value
		}
		axes = append(axes, namedAxis{grid.GetAxes()[name], name, []any{"axes", mapKey(name)}, value, set})
	}
	return axes
}

func (b *builder) dimension(its namedAxis, path ...any) dimension {
	return dimension{b.values(its.ProtoAxis, path...), its.value, its.set}
}

// checkSize counts the trials without looking at a single value.
func (b *builder) checkSize(spec *trellisv1.StudySpec) {
	variants := count{1}
	var variantFactors []string
	for _, its := range axesOfStudy(spec) {
		n := valueCount(its.ProtoAxis)
		variants.times(n)
		variantFactors = append(variantFactors, grouped(n)+" "+its.name)
	}
	before := len(b.violations)
	var points, trials count
	for i, grid := range spec.GetGrid() {
		here := count{1}
		var factors []string
		for _, its := range axesOfGrid(grid) {
			n := valueCount(its.ProtoAxis)
			here.times(n)
			factors = append(factors, grouped(n)+" "+its.name)
		}
		if here.n > MaxTrials {
			b.refuse("grid.size", fmt.Sprintf("this grid has %s points (%s); a study has at most %s",
				here, strings.Join(factors, " x "), grouped(MaxTrials)), "grid", i)
		}
		points.plus(here.n)
		here.times(variants.n)
		trials.plus(here.n)
	}
	if trials.n > MaxTrials && len(b.violations) == before {
		b.refuse("grid.size", fmt.Sprintf("the study has %s trials (%s points of its grids x %s); a study has at most %s",
			trials, points, strings.Join(variantFactors, " x "), grouped(MaxTrials)), "grid")
	}
}

// valueCount returns how many values an axis says that it has.
func valueCount(a ProtoAxis) uint64 {
	if r, _, _ := rangeOf(a); r != nil {
		return uint64(r.GetCount())
	}
	switch a := a.(type) {
	case *trellisv1.IntegerAxis:
		return uint64(len(a.GetValues()))
	case *trellisv1.NumberAxis:
		return uint64(len(a.GetValues()))
	}
	return 0
}

// values reads an axis: its values in its order.
func (b *builder) values(a ProtoAxis, path ...any) axis {
	integers, whole := a.(*trellisv1.IntegerAxis)
	r, field, logarithmic := rangeOf(a)
	switch {
	case r != nil:
		return b.ranged(r, logarithmic, whole, append(path, field))
	case whole:
		values := make([]float64, len(integers.GetValues()))
		for i, value := range integers.GetValues() {
			values[i] = float64(value)
		}
		return listed(b, values, integers.GetValues(), path)
	}
	values := slices.Clone(a.(*trellisv1.NumberAxis).GetValues())
	for i, value := range values {
		switch {
		case math.IsNaN(value):
			b.refuse("axis.number", "NaN is not a number", append(path, "values", i)...)
			return axis{}
		case value == 0:
			values[i] = 0 // -0 is the same point as 0, and must have the same digits.
		}
	}
	return listed(b, values, values, path)
}

// ranged makes an axis of a range's points, all of them whole if they must be.
func (b *builder) ranged(r *trellisv1.Range, logarithmic, whole bool, path []any) axis {
	if !b.checkRange(r, logarithmic, path) {
		return axis{}
	}
	if whole {
		if wrong := notWhole(r, logarithmic); wrong != "" {
			b.refuse("axis.whole", wrong, path...)
			return axis{}
		}
	}
	return ascending(b, points(r, logarithmic), path)
}

// wholeNumbers are the values of an axis of whole numbers.
func wholeNumbers(values []float64) []uint32 {
	whole := make([]uint32, len(values))
	for i, value := range values {
		whole[i] = uint32(value)
	}
	return whole
}

// checkRange says whether points can work on a range. The bounds of each parameter are narrower.
func (b *builder) checkRange(r *trellisv1.Range, logarithmic bool, path []any) bool {
	from, to := r.GetFrom(), r.GetTo()
	ok := 0 <= from && from < to && to <= math.MaxUint32 && r.GetCount() >= 2 && !(logarithmic && from == 0)
	if !ok {
		b.refuse("axis.range", "a range must have at least 2 points and ascend between 0 (a logarithmic one: above 0) "+
			"and 4294967295", path...)
	}
	return ok
}

// listed makes an axis of a list. written are the same values as the list has them.
func listed[V uint32 | float64](b *builder, values []float64, written []V, path []any) axis {
	if len(values) == 0 {
		b.refuse("axis.empty", "an axis needs at least one value", path...)
	}
	a, i, j, ok := newAxis(values)
	if !ok {
		b.refuse("axis.distinct", twice(written[j], i, j), append(path, "values")...)
	}
	return a
}

func twice(value any, i, j uint64) string {
	return fmt.Sprintf("%v stands twice in the list, as value %d and as value %d: leave one of them out",
		value, i+1, j+1)
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
	a, _, _, _ := newAxis(values)
	return a
}

// count is a number that stops at the largest there is.
type count struct{ n uint64 }

func (c *count) times(n uint64) {
	high, low := bits.Mul64(c.n, n)
	if c.n = low; high > 0 {
		c.n = math.MaxUint64
	}
}

func (c *count) plus(n uint64) {
	sum, carry := bits.Add64(c.n, n, 0)
	if c.n = sum; carry > 0 {
		c.n = math.MaxUint64
	}
}

func (c count) String() string {
	if c.n == math.MaxUint64 {
		return "more than " + grouped(c.n-1)
	}
	return grouped(c.n)
}

// grouped writes a number with commas.
func grouped(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	var s strings.Builder
	for i, digit := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			s.WriteByte(',')
		}
		s.WriteRune(digit)
	}
	return s.String()
}
