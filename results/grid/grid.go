package grid

import (
	"iter"
	"sort"

	trellisv1 "trellis/proto/trellis/v1"
)

// Grid is the union of a study's grids, each with every seed, without the points that its condition leaves out: a set
// of numbered points. Points that are left out keep their numbers. It is immutable and safe for concurrent use.
type Grid struct {
	products []Product
	// size is the number of indices: those of all products.
	size uint64
	// names are those of the parameters of all points, in the order of the digits, but for the seed. kinds are the
	// kinds of their values.
	names []string
	kinds map[string]trellisv1.Kind
	// where is nil if all points are wanted.
	where *where
	// model is the spec's; "" for a program.
	model string
	// program says that points are a program's, not a model's, and apart that those which differ only in max_epochs are
	// runs of their own.
	program, apart bool
}

// New reads the spec's grid, and fills in defaults. It returns a *protovalidate.ValidationError if an axis has no
// values or a duplicate value, or if there are more than MaxTrials points. It does not check the rules of the messages,
// which may have become stricter since a study was written to an old log: Validate does.
func New(spec *trellisv1.StudySpec) (*Grid, error) {
	b := builder{}
	g := b.build(WithDefaults(spec))
	if err := b.err(); err != nil {
		return nil, err
	}
	return g, nil
}

// Size returns the number of indices, which is the number of points with those that occur in several grids counted
// in each of them, and with those that the condition leaves out.
func (g *Grid) Size() uint64 { return g.size }

// At returns the point with an index, which must be below Size, even if the condition leaves it out.
func (g *Grid) At(index uint64) *trellisv1.Parameters {
	return g.at(g.productOf(index), index)
}

// Read is At into a point of the caller's, whose values it replaces. Who reads many points needs no memory for each.
func (g *Grid) Read(index uint64, point *trellisv1.Parameters) {
	if clear(point.Values); point.Values == nil {
		point.Values = map[string]*trellisv1.Value{}
	}
	g.read(g.productOf(index), index, point)
}

func (g *Grid) productOf(index uint64) int {
	if index >= g.size {
		panic("grid: index out of range")
	}
	return sort.Search(len(g.products), func(k int) bool { return g.products[k].Offset > index }) - 1
}

// at returns the point with an index of product k.
func (g *Grid) at(k int, index uint64) *trellisv1.Parameters {
	point := &trellisv1.Parameters{Values: make(map[string]*trellisv1.Value, len(g.products[k].Dimensions)-2)}
	g.read(k, index, point)
	return point
}

// read takes the index apart, least significant digit first, and puts the values into a point that has none.
func (g *Grid) read(k int, index uint64, point *trellisv1.Parameters) {
	p := &g.products[k]
	rest := index - p.Offset
	for i := len(p.Dimensions) - 1; i >= 0; i-- {
		d := &p.Dimensions[i]
		value := d.values[rest%d.size()]
		switch d.Name {
		case MaxEpochs:
			point.MaxEpochs = uint32(numberOf(value))
		case Seed:
			point.Seed = uint32(numberOf(value))
		default:
			point.Values[d.Name] = value
		}
		rest /= d.size()
	}
}

// Index returns the lowest index of a point, if it is in the grid.
func (g *Grid) Index(parameters *trellisv1.Parameters) (uint64, bool) {
	for k := range g.products {
		if index, ok := g.index(k, parameters); ok {
			return index, g.Meets(parameters)
		}
	}
	return 0, false
}

// index returns the index that a point has in product k. It is the inverse of at.
func (g *Grid) index(k int, parameters *trellisv1.Parameters) (uint64, bool) {
	p := &g.products[k]
	if len(parameters.GetValues()) != len(p.Dimensions)-2 {
		return 0, false // All but max_epochs and the seed are values.
	}
	index := uint64(0)
	for i := range p.Dimensions {
		d := &p.Dimensions[i]
		digit, ok := d.positions[keyIn(parameters, d.Name)]
		if !ok {
			return 0, false
		}
		index = index*d.size() + digit
	}
	return p.Offset + index, true
}

// First says whether the point of this index, which is below Size, is in the grid and no earlier grid of the union
// has it.
func (g *Grid) First(index uint64) bool {
	k := g.productOf(index)
	return g.first(k, index) && (g.where == nil || g.Meets(g.at(k, index)))
}

func (g *Grid) first(k int, index uint64) bool {
	if k == 0 {
		return true
	}
	p := &g.products[k]
	var room [32]uint32
	ids := append(room[:0], make([]uint32, len(p.Dimensions))...)
	rest := index - p.Offset
	for i := len(p.Dimensions) - 1; i >= 0; i-- {
		d := &p.Dimensions[i]
		ids[i] = d.ids[rest%d.size()]
		rest /= d.size()
	}
	for earlier := range k {
		if g.products[earlier].has(p, ids) {
			return false
		}
	}
	return true
}

// All returns the distinct points with their lowest indices, in the order of these. Points that differ only in
// max_epochs and the seed share their values, which nobody may change.
func (g *Grid) All() iter.Seq2[uint64, *trellisv1.Parameters] {
	return func(yield func(uint64, *trellisv1.Parameters) bool) {
		for k := range g.products {
			if !g.eachOf(k, yield) {
				return
			}
		}
	}
}

// eachOf yields the points of product k. It returns false if no more are wanted.
func (g *Grid) eachOf(k int, yield func(uint64, *trellisv1.Parameters) bool) (more bool) {
	p := &g.products[k]
	end := g.size
	if k+1 < len(g.products) {
		end = g.products[k+1].Offset
	}
	// The slowest digits come before max_epochs: while they stay, the values take turns with those behind it.
	seeds := p.Dimensions[len(p.Dimensions)-1].size()
	behind, turn := uint64(1), uint64(1)
	for i := len(p.Dimensions) - 2; i >= 0; i-- {
		if p.Dimensions[i].Name == MaxEpochs {
			turn = behind * p.Dimensions[i].size()
			break
		}
		behind *= p.Dimensions[i].size()
	}
	t := tester{grid: g}
	shared := make([]map[string]*trellisv1.Value, behind)
	for index := p.Offset; index < end; index++ {
		at := (index - p.Offset) / seeds
		if at%turn == 0 && (index-p.Offset)%seeds == 0 {
			clear(shared)
		}
		// What can't be computed has been refused: see LeftOut.
		if ok, err := t.meets(k, index); err != nil || !ok || !g.first(k, index) {
			continue
		}
		values := shared[at%behind]
		if values == nil {
			values = make(map[string]*trellisv1.Value, len(p.Dimensions)-2)
			shared[at%behind] = values
		}
		point := &trellisv1.Parameters{Values: values}
		if g.read(k, index, point); !yield(index, point) {
			return false
		}
	}
	return true
}
