package grid

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/pruning"
)

// Product is one grid of the union, with the seeds. Nobody may change it.
type Product struct {
	// Dimensions are the axes of the grid and the seeds, the slowest digit first.
	Dimensions []Dimension
	// Offset is the index of the first point; the next product's follow the last.
	Offset uint64
	// longest is the largest max_epochs.
	longest uint32
	// tested are the axes that the condition depends on, in the order of the digits, and combinations is how many their
	// values have.
	tested       []tested
	combinations uint64
}

// Dimension is an axis and the name of its parameter.
type Dimension struct {
	Name string
	axis
	// ids tell the values of a parameter apart in all products, and digits are where a value stands on this axis.
	ids    []uint32
	digits map[uint32]uint32
}

// Size returns how many values the axis has.
func (d *Dimension) Size() uint64 { return d.size() }

// Value returns the axis's value for a digit.
func (d *Dimension) Value(digit uint64) *trellisv1.Value { return d.values[digit] }

// Epochs returns the value for a digit of the axis max_epochs.
func (d *Dimension) Epochs(digit uint64) uint32 { return uint32(numberOf(d.values[digit])) }

// ID returns a number that tells the value for a digit from the other values of the parameter, in all products.
func (d *Dimension) ID(digit uint64) uint32 { return d.ids[digit] }

// DigitOf returns the digit of the value with an ID.
func (d *Dimension) DigitOf(id uint32) (uint64, bool) {
	digit, ok := d.digits[id]
	return uint64(digit), ok
}

// size is how many points the product has.
func (p *Product) size() uint64 {
	size := uint64(1)
	for i := range p.Dimensions {
		size *= p.Dimensions[i].size()
	}
	return size
}

// Tests says whether the condition depends on a parameter.
func (p *Product) Tests(name string) bool {
	return slices.ContainsFunc(p.tested, func(t tested) bool { return t.name == name })
}

// has says whether a product has the point of another whose values have these ids.
func (p *Product) has(of *Product, ids []uint32) bool {
	if len(p.Dimensions) != len(of.Dimensions) {
		return false
	}
	for i := range p.Dimensions {
		d := &p.Dimensions[i]
		if _, there := d.digits[ids[i]]; !there || d.Name != of.Dimensions[i].Name {
			return false
		}
	}
	return true
}

// Products returns the grids of the union, in the order of their indices. Nobody may change them.
func (g *Grid) Products() []Product { return g.products }

// RunsApart says whether points that differ only in max_epochs are runs of their own.
func (g *Grid) RunsApart() bool { return g.apart }

// ProductOf returns the product that has an index, which must be below Size.
func (g *Grid) ProductOf(index uint64) int { return g.productOf(index) }

// Met computes the condition once for each combination of the values that it depends on in product k. The combinations
// are numbered in mixed radix, in the order of the digits. What can't be computed is not met: see LeftOut. It returns
// nil if there is no condition.
func (g *Grid) Met(k int) []bool {
	met, _ := g.met(context.Background(), k)
	return met
}

// met is like Met, but ends early with the error of ctx.
func (g *Grid) met(ctx context.Context, k int) ([]bool, error) {
	if g.where == nil {
		return nil, nil
	}
	p := &g.products[k]
	met := make([]bool, p.combinations)
	each := max(1000, len(met)/runtime.GOMAXPROCS(0)+1)
	var all sync.WaitGroup
	for from := 0; from < len(met); from += each {
		all.Go(func() {
			for number := from; number < min(from+each, len(met)); number++ {
				if number%interruptEvery == 0 && ctx.Err() != nil {
					return
				}
				ok, _, err := g.where.Meets(combinationAt{p, p.restOf(uint64(number))})
				met[number] = ok && err == nil
			}
		})
	}
	all.Wait()
	return met, ctx.Err()
}

// Combination returns the number of the combination that the point at a place in the product has: see Grid.Met.
func (p *Product) Combination(rest uint64) uint64 { return p.combination(rest) }

// restOf returns the lowest place in the product of a point with a combination of the values that the condition depends
// on: the inverse of combination.
func (p *Product) restOf(combination uint64) (rest uint64) {
	for i := len(p.tested) - 1; i >= 0; i-- {
		t := &p.tested[i]
		rest += combination % uint64(len(t.values)) * t.weight
		combination /= uint64(len(t.values))
	}
	return rest
}

// checkListed refuses a grid of more than MaxTrials points whose runs are found only by listing them all.
func (b *builder) checkListed(g *Grid, spec *trellisv1.StudySpec) {
	if g.size <= MaxTrials {
		return
	}
	switch g.Listing(spec) {
	case ListingOverlap:
		b.refuse("grid.overlap", fmt.Sprintf("the grids have %s points, and some may be in several of them: at most "+
			"%s can be compared, so give the grids different values on one axis besides max_epochs", grouped(g.size),
			grouped(MaxTrials)), "grid")
	case ListingWhere:
		b.refuse("where", fmt.Sprintf("where: depends on max_epochs, which is possible for at most %s points, and the "+
			"grids have %s", grouped(MaxTrials), grouped(g.size)), "where")
	case ListingIDs:
		b.refuse("order.ids", fmt.Sprintf("the grids have %s points; more than %s can't be sorted: set order to "+
			"random, longest or as-written", grouped(g.size), grouped(MaxTrials)), "order")
	}
}

// Listing is why the runs of a study can't be computed from their places, without listing them.
type Listing int

// The reasons.
const (
	// ListingNone: they can.
	ListingNone Listing = iota
	// ListingOverlap: grids of the union may have runs in common.
	ListingOverlap
	// ListingWhere: the condition depends on max_epochs, so that runs have different milestones.
	ListingWhere
	// ListingIDs: they are ordered by their ids.
	ListingIDs
)

// Listing says why the runs of the spec, which is that of the grid, must be listed.
func (g *Grid) Listing(spec *trellisv1.StudySpec) Listing {
	if OrderedByID(spec) {
		return ListingIDs
	}
	for k, common := range g.CommonRuns() {
		if slices.Contains(common[:k], true) {
			return ListingOverlap
		}
		if !g.apart && g.products[k].Tests(MaxEpochs) {
			return ListingWhere
		}
	}
	return ListingNone
}

// OrderedByID says whether runs of the same length are in the order of their ids: where the spec gives no order to a
// study that prunes.
func OrderedByID(spec *trellisv1.StudySpec) bool {
	return spec.GetOrder() == trellisv1.Order_ORDER_UNSPECIFIED && pruning.Of(spec) != nil
}

// CommonRuns says of every two products whether they may have a run in common. If not, some parameter has no value in
// both: a value that RunID leaves out is the same as none there.
func (g *Grid) CommonRuns() [][]bool {
	if g.apart {
		return g.common("")
	}
	return g.common(MaxEpochs)
}

// common says of every two products whether they may have points in common that differ at most in a parameter.
func (g *Grid) common(except string) [][]bool {
	n := len(g.products)
	common := make([][]bool, n)
	for k := range common {
		common[k] = slices.Repeat([]bool{true}, n)
	}
	for _, name := range append(g.names[:len(g.names):len(g.names)], Seed) {
		if name == except || n == 1 {
			continue
		}
		having := g.having(name)
		for k := range g.products {
			meets := make([]bool, n)
			for _, id := range g.idsOf(k, name) {
				for _, other := range having[id] {
					meets[other] = true
				}
			}
			for other, does := range meets {
				common[k][other] = common[k][other] && does
			}
		}
	}
	return common
}

// none is the id of no value.
const none = ^uint32(0)

// having are the products that have a parameter's values, by the id.
func (g *Grid) having(name string) map[uint32][]int {
	having := map[uint32][]int{}
	for k := range g.products {
		for _, id := range g.idsOf(k, name) {
			having[id] = append(having[id], k)
		}
	}
	return having
}

// idsOf are the ids of the values that a parameter has in product k. None stands for one that RunID leaves out too.
func (g *Grid) idsOf(k int, name string) []uint32 {
	at := slices.IndexFunc(g.products[k].Dimensions, func(d Dimension) bool { return d.Name == name })
	if at < 0 {
		return []uint32{none}
	}
	d := &g.products[k].Dimensions[at]
	unsaid, ok := g.unsaid(name)
	if !ok {
		return d.ids
	}
	ids := slices.Clone(d.ids)
	for digit, value := range d.values {
		if KeyOf(value) == unsaid {
			ids[digit] = none
		}
	}
	return ids
}

// unsaid returns the key of the value of a parameter that is the same run as no value, if there is one.
func (g *Grid) unsaid(name string) (ValueKey, bool) {
	key, ok := unsaidIn(g.model, name)
	if g.program || !ok && place(name) == place("") || name == MaxEpochs || name == Seed {
		return ValueKey{}, false
	}
	if !ok {
		key = numberKey(0)
	}
	return key, true
}

// keyInRun is keyIn for comparing runs: it is that of no value if RunID leaves the value out.
func (g *Grid) keyInRun(p *trellisv1.Parameters, name string) ValueKey {
	key := keyIn(p, name)
	if unsaid, ok := g.unsaid(name); ok && key == unsaid {
		return ValueKey{}
	}
	return key
}

// RunIn returns where in product k the run is that trains a point, which may come from another study: the place of the
// run's point with the first max_epochs, or that of the point itself if runs are apart. It does not ask the condition.
func (g *Grid) RunIn(k int, point *trellisv1.Parameters) (rest uint64, ok bool) {
	p := &g.products[k]
	said := 0
	for i := range p.Dimensions {
		d := &p.Dimensions[i]
		digit := uint64(0)
		if d.Name != MaxEpochs || g.apart {
			key := g.keyInRun(point, d.Name)
			if key == (ValueKey{}) {
				if key, ok = g.unsaid(d.Name); !ok {
					return 0, false
				}
			} else if d.Name != MaxEpochs && d.Name != Seed {
				said++
			}
			if digit, ok = d.positions[key]; !ok {
				return 0, false
			}
		}
		rest = rest*d.size() + digit
	}
	for name := range point.GetValues() {
		if g.keyInRun(point, name) != (ValueKey{}) {
			said--
		}
	}
	return rest, said == 0
}

// MayMeet says whether points of two grids may be trained by the same run as far as the values of each parameter say.
//
// Every study is compared with every other, so that it must be fast: seeds tell many apart.
func (g *Grid) MayMeet(other *Grid) bool {
	if !g.meetsOn(other, Seed) {
		return false
	}
	for _, names := range [][]string{g.names, other.names} {
		for _, name := range names {
			if (name != MaxEpochs || g.apart) && !g.meetsOn(other, name) {
				return false
			}
		}
	}
	return true
}

// meetsOn says whether two grids have a value of a parameter in common, or both have points without one.
func (g *Grid) meetsOn(other *Grid, name string) bool {
	if len(g.products) == 1 && len(other.products) == 1 && g.program == other.program {
		a, b := g.products[0].dimension(name), other.products[0].dimension(name)
		if a != nil && b != nil {
			return a.meets(b)
		}
	}
	its, others := g.keysOf(name), other.keysOf(name)
	if len(its) > len(others) {
		its, others = others, its
	}
	for key := range its {
		if others[key] {
			return true
		}
	}
	return false
}

// dimension is that of a parameter, or nil.
func (p *Product) dimension(name string) *Dimension {
	for i := range p.Dimensions {
		if p.Dimensions[i].Name == name {
			return &p.Dimensions[i]
		}
	}
	return nil
}

// meets says whether two axes of a parameter have a value in common.
func (d *Dimension) meets(other *Dimension) bool {
	if len(d.positions) > len(other.positions) {
		d, other = other, d
	}
	for key := range d.positions {
		if _, has := other.positions[key]; has {
			return true
		}
	}
	return false
}

// keysOf are the keys of all values that a parameter has, as runs are compared.
func (g *Grid) keysOf(name string) map[ValueKey]bool {
	keys := map[ValueKey]bool{}
	unsaid, can := g.unsaid(name)
	for k := range g.products {
		at := slices.IndexFunc(g.products[k].Dimensions, func(d Dimension) bool { return d.Name == name })
		if at < 0 {
			keys[ValueKey{}] = true
			continue
		}
		for key := range g.products[k].Dimensions[at].positions {
			if can && key == unsaid {
				key = ValueKey{}
			}
			keys[key] = true
		}
	}
	return keys
}

// Telling says which values a parameter has, for finding grids that may meet.
type Telling struct {
	// Values are texts for the values, which are the same in all grids.
	Values []string
	// Large says that the values are too many to tell, and Lacking that points may have none.
	Large, Lacking bool
}

// Telling returns which values parameters have, if they are no more than most. Another grid that MayMeet says of has
// one of the values of each parameter that is not Lacking here, unless one of the two is Large.
func (g *Grid) Telling(most int) map[string]Telling {
	telling := map[string]Telling{}
	for _, name := range append([]string{Seed}, g.names...) {
		if name == MaxEpochs && !g.apart {
			continue
		}
		its := Telling{}
		for k := range g.products {
			d := g.products[k].dimension(name)
			its.Large = its.Large || d != nil && d.size() > uint64(most)
		}
		if !its.Large {
			for key := range g.keysOf(name) {
				if key == (ValueKey{}) {
					its.Lacking = true
				} else {
					its.Values = append(its.Values, fmt.Sprintf("%d %x %q", key.kind, key.bits, key.text))
				}
			}
			slices.Sort(its.Values)
		}
		telling[name] = its
	}
	return telling
}
