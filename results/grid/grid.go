package grid

import (
	"iter"
	"slices"
	"sort"

	trellisv1 "trellis/proto/trellis/v1"
)

// Grid is the union of a study's grids, each with every batch size and every seed: a set of numbered points. It does
// not change, and may be used by several goroutines.
type Grid struct {
	products   []product
	batchSizes axis[uint32]
	seeds      axis[uint32]
	// size is the number of indices: those of all products, batch sizes and seeds.
	size uint64
}

// product is one grid of the union.
type product struct {
	latentDims    axis[uint32]
	learningRates axis[float64]
	weightDecays  axis[float64]
	// own are the axes that only the model has, by name.
	own       []ownAxis
	maxEpochs axis[uint32]
	// offset is the index of the first point; the next product's follow the last.
	offset uint64
}

// ownAxis is an axis that only the study's model has.
type ownAxis struct {
	name string
	axis[float64]
}

// New reads the spec's grid, filling in defaults. It returns a *protovalidate.ValidationError if an axis has no values,
// or one twice, or if there are more than MaxTrials points. It does not check the rules that the messages themselves
// state, which may become stricter than a study in an old log: Validate does.
func New(spec *trellisv1.StudySpec) (*Grid, error) {
	b := builder{}
	g := b.build(WithDefaults(spec))
	if err := b.err(); err != nil {
		return nil, err
	}
	return g, nil
}

// Size returns the number of indices, which is the number of points with those that occur in several grids counted
// in each of them.
func (g *Grid) Size() uint64 { return g.size }

// At returns the point of an index below Size.
func (g *Grid) At(index uint64) *trellisv1.Parameters {
	return g.at(g.productOf(index), index)
}

func (g *Grid) productOf(index uint64) int {
	if index >= g.size {
		panic("grid: index out of range")
	}
	return sort.Search(len(g.products), func(k int) bool { return g.products[k].offset > index }) - 1
}

// at takes the index apart, least significant digit first.
func (g *Grid) at(k int, index uint64) *trellisv1.Parameters {
	p := &g.products[k]
	rest := index - p.offset
	return &trellisv1.Parameters{
		Seed:         digit(&g.seeds, &rest),
		BatchSize:    digit(&g.batchSizes, &rest),
		MaxEpochs:    digit(&p.maxEpochs, &rest),
		Values:       ownDigits(p.own, &rest),
		WeightDecay:  digit(&p.weightDecays, &rest),
		LearningRate: digit(&p.learningRates, &rest),
		LatentDim:    digit(&p.latentDims, &rest),
	}
}

func digit[V uint32 | float64](a *axis[V], rest *uint64) V {
	value := a.values[*rest%a.size()]
	*rest /= a.size()
	return value
}

// ownDigits returns the values on a model's own axes, nil if it has none.
func ownDigits(own []ownAxis, rest *uint64) map[string]float64 {
	if len(own) == 0 {
		return nil
	}
	values := make(map[string]float64, len(own))
	for i := range slices.Backward(own) {
		values[own[i].name] = digit(&own[i].axis, rest)
	}
	return values
}

// Index returns the lowest index of a point, if it is in the grid.
func (g *Grid) Index(parameters *trellisv1.Parameters) (uint64, bool) {
	for k := range g.products {
		if index, ok := g.index(k, parameters); ok {
			return index, true
		}
	}
	return 0, false
}

// index returns the index that a point has in product k. It is the inverse of at.
func (g *Grid) index(k int, parameters *trellisv1.Parameters) (uint64, bool) {
	p := &g.products[k]
	index := uint64(0)
	ok := position(&p.latentDims, parameters.GetLatentDim(), &index) &&
		position(&p.learningRates, parameters.GetLearningRate(), &index) &&
		position(&p.weightDecays, parameters.GetWeightDecay(), &index) &&
		ownPosition(p.own, parameters.GetValues(), &index) &&
		position(&p.maxEpochs, parameters.GetMaxEpochs(), &index) &&
		position(&g.batchSizes, parameters.GetBatchSize(), &index) &&
		position(&g.seeds, parameters.GetSeed(), &index)
	return p.offset + index, ok
}

func position[V uint32 | float64](a *axis[V], value V, index *uint64) bool {
	digit, ok := a.positions[value]
	*index = *index*a.size() + digit
	return ok
}

func ownPosition(own []ownAxis, values map[string]float64, index *uint64) bool {
	if len(values) != len(own) {
		return false
	}
	for i := range own {
		value, ok := values[own[i].name]
		if !ok || !position(&own[i].axis, value, index) {
			return false
		}
	}
	return true
}

// First says whether no earlier grid of the union has the point of this index, which is below Size.
func (g *Grid) First(index uint64) bool {
	k := g.productOf(index)
	return k == 0 || g.first(k, g.at(k, index))
}

func (g *Grid) first(k int, parameters *trellisv1.Parameters) bool {
	for earlier := range k {
		if _, ok := g.index(earlier, parameters); ok {
			return false
		}
	}
	return true
}

// All returns the distinct points with their lowest indices, in the order of these.
func (g *Grid) All() iter.Seq2[uint64, *trellisv1.Parameters] {
	return func(yield func(uint64, *trellisv1.Parameters) bool) {
		k := 0
		for index := range g.size {
			if k+1 < len(g.products) && index == g.products[k+1].offset {
				k++
			}
			if point := g.at(k, index); g.first(k, point) && !yield(index, point) {
				return
			}
		}
	}
}
