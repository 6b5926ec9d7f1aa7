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

	trellisv1 "trellis/proto/trellis/v1"
)

// MaxTrials is how many points the union of a study's grids may have, with batch sizes and seeds.
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
	g := &Grid{
		batchSizes: b.integers(spec.GetBatchSize(), "batch_size"),
		seeds:      b.integers(spec.GetSeeds(), "seeds"),
	}
	for i, grid := range spec.GetGrid() {
		p := product{
			latentDims:    b.integers(grid.GetLatentDim(), "grid", i, "latent_dim"),
			learningRates: b.numbers(grid.GetLearningRate(), "grid", i, "learning_rate"),
			weightDecays:  b.numbers(grid.GetWeightDecay(), "grid", i, "weight_decay"),
			maxEpochs:     b.integers(grid.GetMaxEpochs(), "grid", i, "max_epochs"),
			offset:        g.size,
		}
		points := uint64(1)
		for _, name := range slices.Sorted(maps.Keys(grid.GetAxes())) {
			own := ownAxis{name, b.numbers(grid.GetAxes()[name], "grid", i, "axes", mapKey(name))}
			points *= own.size()
			p.own = append(p.own, own)
		}
		g.size += points * p.latentDims.size() * p.learningRates.size() * p.weightDecays.size() * p.maxEpochs.size() *
			g.batchSizes.size() * g.seeds.size()
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

// checkSize counts the trials without looking at a single value.
func (b *builder) checkSize(spec *trellisv1.StudySpec) {
	variants := count{1}
	variants.times(valueCount(spec.GetBatchSize()))
	variants.times(valueCount(spec.GetSeeds()))
	before := len(b.violations)
	var points, trials count
	for i, grid := range spec.GetGrid() {
		here := count{1}
		var factors []string
		times := func(name string, a protoAxis) {
			n := valueCount(a)
			here.times(n)
			factors = append(factors, grouped(n)+" "+name)
		}
		times("latent_dim", grid.GetLatentDim())
		times("learning_rate", grid.GetLearningRate())
		times("weight_decay", grid.GetWeightDecay())
		for _, name := range slices.Sorted(maps.Keys(grid.GetAxes())) {
			times(name, grid.GetAxes()[name])
		}
		times("max_epochs", grid.GetMaxEpochs())
		if here.n > MaxTrials {
			b.refuse("grid.size", fmt.Sprintf("this grid has %s points (%s); a study has at most %s",
				here, strings.Join(factors, " x "), grouped(MaxTrials)), "grid", i)
		}
		points.plus(here.n)
		here.times(variants.n)
		trials.plus(here.n)
	}
	if trials.n > MaxTrials && len(b.violations) == before {
		b.refuse("grid.size", fmt.Sprintf(
			"the study has %s trials (%s points of its grids x %s batch_size x %s seeds); a study has at most %s",
			trials, points, grouped(valueCount(spec.GetBatchSize())), grouped(valueCount(spec.GetSeeds())),
			grouped(MaxTrials)), "grid")
	}
}

// valueCount returns how many values an axis says that it has.
func valueCount(a protoAxis) uint64 {
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

// integers reads an axis of whole numbers.
func (b *builder) integers(a *trellisv1.IntegerAxis, path ...any) axis[uint32] {
	r, field, logarithmic := rangeOf(a)
	if r == nil {
		return listed(b, a.GetValues(), path)
	}
	path = append(path, field)
	if !b.checkRange(r, logarithmic, path) {
		return axis[uint32]{}
	}
	if wrong := notWhole(r, logarithmic); wrong != "" {
		b.refuse("axis.whole", wrong, path...)
		return axis[uint32]{}
	}
	values := make([]uint32, 0, r.GetCount())
	for _, point := range points(r, logarithmic) {
		values = append(values, uint32(point))
	}
	return ascending(b, values, path)
}

// numbers reads an axis of real numbers.
func (b *builder) numbers(a *trellisv1.NumberAxis, path ...any) axis[float64] {
	r, field, logarithmic := rangeOf(a)
	if r == nil {
		values := append([]float64(nil), a.GetValues()...)
		for i, value := range values {
			switch {
			case math.IsNaN(value):
				b.refuse("axis.number", "NaN is not a number", append(path, "values", i)...)
				return axis[float64]{}
			case value == 0:
				values[i] = 0 // -0 is the same point as 0, and must have the same digits.
			}
		}
		return listed(b, values, path)
	}
	path = append(path, field)
	if !b.checkRange(r, logarithmic, path) {
		return axis[float64]{}
	}
	return ascending(b, points(r, logarithmic), path)
}

// checkRange says whether points can work on a range. The bounds of each parameter are narrower.
func (b *builder) checkRange(r *trellisv1.Range, logarithmic bool, path []any) bool {
	from, to := r.GetFrom(), r.GetTo()
	ok := 0 <= from && from < to && to <= math.MaxUint32 && r.GetCount() >= 2 && !(logarithmic && from == 0)
	if !ok {
		b.refuse("axis.range", "a range has at least 2 points and runs upwards between 0 (a logarithmic one: above 0) "+
			"and 4294967295", path...)
	}
	return ok
}

// listed makes an axis of a list.
func listed[V uint32 | float64](b *builder, values []V, path []any) axis[V] {
	if len(values) == 0 {
		b.refuse("axis.empty", "an axis needs at least one value", path...)
	}
	a, i, j, ok := newAxis(values)
	if !ok {
		b.refuse("axis.distinct", twice(values[j], i, j), append(path, "values")...)
	}
	return a
}

func twice(value any, i, j uint64) string {
	return fmt.Sprintf("%v stands twice in the list, as value %d and as value %d: leave one of them out",
		value, i+1, j+1)
}

// ascending makes an axis of a range's points, which must be distinct after rounding.
func ascending[V uint32 | float64](b *builder, values []V, path []any) axis[V] {
	for i := 1; i < len(values); i++ {
		if values[i-1] >= values[i] {
			b.refuse("axis.distinct", fmt.Sprintf(
				"points %d and %d of this range are no longer distinct when they are rounded to %d significant digits: "+
					"choose a smaller count", i, i+1, significantDigits), path...)
			return axis[V]{}
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
