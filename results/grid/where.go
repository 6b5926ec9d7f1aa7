package grid

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/condition"
)

// maxWhereCost bounds the work of computing a spec's where at all points: about one unit per operation, 20 for each of
// a million points. Every replica does it when it expands the study.
const maxWhereCost = 20 * MaxTrials

// interruptEvery is how many combinations LeftOut passes before it asks whether anybody waits for it.
const interruptEvery = 1024

// where is the condition that the points of a grid meet.
type where struct {
	*condition.Condition
	kinds map[string]trellisv1.Kind
}

// celTypes are the types of parameters in conditions.
var celTypes = map[trellisv1.Kind]*cel.Type{
	trellisv1.Kind_KIND_NUMBER:  cel.DoubleType,
	trellisv1.Kind_KIND_INTEGER: cel.IntType,
	trellisv1.Kind_KIND_TEXT:    cel.StringType,
	trellisv1.Kind_KIND_BOOLEAN: cel.BoolType,
}

// addWhere gives the grid the condition of its spec. A condition may use what all points have: a parameter that some
// grids lack is no value there that anything could be compared with.
func (b *builder) addWhere(g *Grid, spec *trellisv1.StudySpec) {
	if condition.IsEmpty(spec.GetWhere()) {
		return
	}
	language := condition.Language{Noun: "parameter", Example: "learning_rate < 0.01 || batch_size >= 64", Exact: true}
	for _, name := range append(g.names[:len(g.names):len(g.names)], Seed) {
		language.Variables = append(language.Variables, condition.Variable{Name: name, Type: celTypes[g.kinds[name]]})
	}
	compiled, err := language.Compile(spec.GetWhere())
	if err != nil {
		b.refuse("where", "where: "+err.Error(), "where")
		return
	}
	g.where = &where{compiled, g.kinds}
	var combinations count
	for k := range g.products {
		if missing := g.products[k].addTested(g.where); missing != "" {
			b.refuse("where", fmt.Sprintf("where: grid %d of %d has no %s, so it can't be compared there: add it to "+
				"the grid, or to fixed", k+1, len(g.products), missing), "where")
			return
		}
		combinations.plus(g.products[k].combinations)
	}
	if combinations.n > MaxTrials {
		b.refuse("where", fmt.Sprintf("where: depends on parameters whose values have %s combinations; at most %s can "+
			"be computed: use fewer parameters, or smaller axes", combinations, grouped(MaxTrials)), "where")
	}
}

// tested is one of a grid's axes that a condition depends on.
type tested struct {
	name string
	// values are the axis's, as conditions see them, and weight is how many points follow each other with one of them.
	values []any
	weight uint64
}

// addTested notes the axes that the condition depends on. It returns the name of one that the grid lacks, or "".
func (p *Product) addTested(w *where) (missing string) {
	weight := uint64(1)
	weights, places := map[string]uint64{}, map[string]int{}
	for i := len(p.Dimensions) - 1; i >= 0; i-- {
		weights[p.Dimensions[i].Name], places[p.Dimensions[i].Name] = weight, i
		weight *= p.Dimensions[i].size()
	}
	p.combinations = 1
	for _, name := range w.Uses() {
		place, ok := places[name]
		if !ok {
			return name
		}
		t := tested{name: name, weight: weights[name]}
		for _, value := range p.Dimensions[place].values {
			t.values = append(t.values, w.value(name, value))
		}
		p.tested = append(p.tested, t)
		p.combinations *= uint64(len(t.values))
	}
	return ""
}

// value is a parameter's value as conditions see it.
func (w *where) value(name string, value *trellisv1.Value) any {
	x, _ := value.Numeric()
	switch w.kinds[name] {
	case trellisv1.Kind_KIND_TEXT:
		return types.String(value.GetText())
	case trellisv1.Kind_KIND_BOOLEAN:
		return types.Bool(value.GetBoolean())
	case trellisv1.Kind_KIND_INTEGER:
		return types.Int(x)
	}
	return types.Double(x)
}

// combination numbers the combinations of the values that a condition depends on, for a point's place in the grid.
func (p *Product) combination(rest uint64) (number uint64) {
	for i := range p.tested {
		t := &p.tested[i]
		number = number*uint64(len(t.values)) + rest/t.weight%uint64(len(t.values))
	}
	return number
}

// combinationAt shows a condition the values of the point at a place in a grid.
type combinationAt struct {
	product *Product
	rest    uint64
}

// Value implements condition.Values.
func (c combinationAt) Value(name string) (any, bool) {
	for i := range c.product.tested {
		if t := &c.product.tested[i]; t.name == name {
			return t.values[c.rest/t.weight%uint64(len(t.values))], true
		}
	}
	return nil, false
}

// verdict is what is known of a combination of values.
type verdict uint8

const (
	unknown verdict = iota
	met
	unmet
)

// tester computes a grid's condition for one point after another, once for each combination of the values that it
// depends on. There are at most as many as points, and a byte for each is far less than the points take.
type tester struct {
	grid    *Grid
	product int
	known   []verdict
	// cost is that of all computations.
	cost uint64
}

// meets says whether the point of an index in product k meets the condition.
func (t *tester) meets(k int, index uint64) (bool, error) {
	if t.grid.where == nil {
		return true, nil
	}
	p := &t.grid.products[k]
	if t.known == nil || t.product != k {
		t.product, t.known = k, make([]verdict, p.combinations)
	}
	rest := index - p.Offset
	known := &t.known[p.combination(rest)]
	if *known == unknown {
		ok, cost, err := t.grid.where.Meets(combinationAt{p, rest})
		if t.cost += cost; err != nil {
			return false, err
		}
		if *known = unmet; ok {
			*known = met
		}
	}
	return *known == met, nil
}

// Meets says whether a point meets the condition of the grid's spec, whether it is in the grid or not.
func (g *Grid) Meets(parameters *trellisv1.Parameters) bool {
	if g.where == nil {
		return true
	}
	ok, _, err := g.where.Meets(pointValues{g.where, parameters})
	return err == nil && ok
}

// pointValues shows a condition the values of a point.
type pointValues struct {
	where *where
	point *trellisv1.Parameters
}

// Value implements condition.Values.
func (v pointValues) Value(name string) (any, bool) {
	value := Value(v.point, name)
	if value == nil {
		return nil, false
	}
	return v.where.value(name, value), true
}

// LeftOut returns how many distinct points a spec's where leaves out. It computes the condition once for each
// combination of the values that it depends on, and returns a *protovalidate.ValidationError if that is impossible for
// one, takes too long, or leaves no point. It ends early with the error of ctx. Other errors are those of New.
func LeftOut(ctx context.Context, spec *trellisv1.StudySpec) (count uint64, err error) {
	g, err := New(spec)
	if err != nil || g.where == nil {
		return 0, err
	}
	t, common, some := tester{grid: g}, g.common(""), false
	for k := range g.products {
		p := &g.products[k]
		each := p.size() / p.combinations
		unmet := make([]bool, p.combinations)
		for number := range unmet {
			if number%interruptEvery == 0 && ctx.Err() != nil {
				return 0, ctx.Err()
			}
			ok, err := t.meets(k, p.Offset+p.restOf(uint64(number)))
			if err != nil {
				return 0, g.refuseWhere(err, k, uint64(number))
			}
			if t.cost > maxWhereCost {
				return 0, invalid("where", fmt.Sprintf("where: takes too long to compute for %s points: make it or the "+
					"grid smaller", grouped(g.size)), "where")
			}
			if some = some || ok; !ok {
				unmet[number] = true
				count += each
			}
		}
		if slices.Contains(common[k][:k], true) {
			count -= g.repeated(k, unmet)
		}
	}
	if !some {
		return 0, invalid("where", fmt.Sprintf("where: leaves out all %s points: no trial would be left",
			grouped(count)), "where")
	}
	return count, nil
}

// repeated counts the points of product k that are in an earlier one, of those with some combinations.
func (g *Grid) repeated(k int, combinations []bool) (count uint64) {
	p := &g.products[k]
	for rest := range p.size() {
		if combinations[p.combination(rest)] && !g.first(k, p.Offset+rest) {
			count++
		}
	}
	return count
}

// refuseWhere says for which values of product k a condition can't be computed.
func (g *Grid) refuseWhere(err error, k int, combination uint64) error {
	wrong, is := errors.AsType[*condition.Mistake](err)
	if !is {
		return err
	}
	p := &g.products[k]
	return invalid("where", fmt.Sprintf("where: %s for %s", wrong, g.describe(g.at(k, p.Offset+p.restOf(combination)))),
		"where")
}

// describe writes the values that a point's condition depends on.
func (g *Grid) describe(p *trellisv1.Parameters) string {
	var parts []string
	for _, name := range g.where.Uses() {
		parts = append(parts, name+" "+inWords(Value(p, name)))
	}
	return strings.Join(parts, ", ")
}
