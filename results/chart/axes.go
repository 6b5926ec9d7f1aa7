package chart

import (
	"fmt"
	"slices"
	"sort"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/catalog"
	"trellis/results/grid"
	"trellis/results/listing"
	"trellis/results/spelling"
)

// none is the level of a parameter that a trial's grid does not have.
const none = ^uint32(0)

// axis has the values of one parameter, each at its level. Numbers ascend, others are in the order of the grid.
type axis struct {
	name        string
	values      []*trellisv1.Value
	levels      map[grid.ValueKey]uint32
	logarithmic bool
}

// add returns the level of a value, which it adds if the axis does not have it yet.
func (a *axis) add(value *trellisv1.Value) uint32 {
	key := grid.KeyOf(value)
	level, known := a.levels[key]
	if !known {
		level = uint32(len(a.values))
		a.levels[key] = level
		a.values = append(a.values, value)
	}
	return level
}

// message returns the axis as it is sent. Of numbers, it has at most so many, evenly over the levels. 0: all.
func (a *axis) message(most uint32) *trellisv1.ChartAxis {
	message := &trellisv1.ChartAxis{Name: a.name, Values: a.values, Logarithmic: a.logarithmic}
	levels := uint64(len(a.values))
	if most == 0 || levels <= uint64(most) || !numeric(a.values) {
		return message
	}
	message.Levels, message.Values = uint32(levels), make([]*trellisv1.Value, most)
	for i := range message.Values {
		message.Values[i] = a.values[uint64(i)*levels/uint64(most)]
	}
	return message
}

// axes are the parameters of a study's trials, with the seed.
type axes struct {
	all      []*axis
	snapshot *results.Snapshot
	catalog  *catalog.Catalog
	// products are the grids of the spec that the study was created with. There are none if the parameters of a trial
	// don't follow from its index: each has to be looked up.
	products []product
	indices  uint64
}

// product says how levels follow from an index in one grid of the union.
type product struct {
	offset uint64
	// digits are by axis.
	digits []digit
}

// digit is where an index has its level on one axis. size is 0 if the grid does not have the parameter.
type digit struct {
	weight, size uint64
	levels       []uint32
}

// newAxes returns the axes of a study.
func newAxes(snapshot *results.Snapshot, study *trellisv1.Study, c *catalog.Catalog) (*axes, error) {
	a := &axes{snapshot: snapshot, catalog: c}
	for _, its := range grid.Parameters(study.GetSpec()) {
		a.addAxis(its.Name, its.Values)
	}
	var seeds []*trellisv1.Value
	for _, seed := range grid.SeedsOf(study.GetSpec()) {
		seeds = append(seeds, trellisv1.IntegerValue(int64(seed)))
	}
	a.addAxis(grid.Seed, seeds)
	for _, its := range a.all {
		its.logarithmic, _ = grid.RangeOf(study.GetSpec(), its.name)
	}
	if index, ok := c.From(0); ok {
		// Specs of old leave out what has its default.
		point, err := snapshot.Point(study.GetName(), index)
		if err != nil {
			return nil, err
		}
		for _, name := range grid.NamesOf(point) {
			if a.find(name) < 0 {
				a.addAxis(name, nil)
			}
		}
	}
	if c.Base != nil && c.Base.Disjoint() && !c.Base.Extended() {
		a.addProducts(c.Base.Grid())
	}
	return a, nil
}

// addAxis adds a parameter with those of its values that are known.
func (a *axes) addAxis(name string, values []*trellisv1.Value) {
	if numeric(values) {
		values = slices.SortedFunc(slices.Values(values), grid.Compare)
	}
	its := &axis{name: name, levels: make(map[grid.ValueKey]uint32, len(values))}
	for _, value := range values {
		its.add(value)
	}
	a.all = append(a.all, its)
}

// numeric says whether all values are numbers.
func numeric(values []*trellisv1.Value) bool {
	return !slices.ContainsFunc(values, func(value *trellisv1.Value) bool {
		_, isNumber := value.Numeric()
		return !isNumber
	})
}

// addProducts notes how levels follow from indexes.
func (a *axes) addProducts(g *grid.Grid) {
	a.indices = g.Size()
	for k := range g.Products() {
		of := &g.Products()[k]
		p := product{offset: of.Offset, digits: make([]digit, len(a.all))}
		weight := uint64(1)
		for i := len(of.Dimensions) - 1; i >= 0; i-- {
			d := &of.Dimensions[i]
			at := a.find(d.Name)
			if at < 0 {
				a.addAxis(d.Name, nil)
				at = len(a.all) - 1
				p.digits = append(p.digits, digit{})
			}
			its := digit{weight: weight, size: d.Size(), levels: make([]uint32, d.Size())}
			for value := range d.Size() {
				its.levels[value] = a.all[at].add(d.Value(value))
			}
			p.digits[at] = its
			weight *= d.Size()
		}
		a.products = append(a.products, p)
	}
	for k := range a.products {
		for len(a.products[k].digits) < len(a.all) {
			a.products[k].digits = append(a.products[k].digits, digit{})
		}
	}
}

// find returns the position of a parameter, or -1.
func (a *axes) find(name string) int {
	return slices.IndexFunc(a.all, func(its *axis) bool { return its.name == name })
}

// named returns the position of a parameter that a request names in a field. It fails with listing.ErrInvalid.
func (a *axes) named(field, name string) (int, error) {
	at := a.find(name)
	if at >= 0 {
		return at, nil
	}
	names := make([]string, len(a.all))
	for i, its := range a.all {
		names[i] = its.name
	}
	return 0, fmt.Errorf("%s: %s: %w", field, spelling.Unknown("parameter", name, names), listing.ErrInvalid)
}

// follow says that the parameters of a trial follow from its index, which takes nanoseconds. Otherwise they are looked
// up, which takes a microsecond.
func (a *axes) follow(index uint64) bool { return index < a.indices }

// product returns the grid of the union that an index belongs to, which must follow.
func (a *axes) product(index uint64) *product {
	if len(a.products) == 1 {
		return &a.products[0]
	}
	return &a.products[sort.Search(len(a.products), func(k int) bool { return a.products[k].offset > index })-1]
}

// level returns the level of an index of the product on an axis.
func (p *product) level(index uint64, at int) uint32 {
	d := &p.digits[at]
	if d.size == 0 {
		return none
	}
	return d.levels[(index-p.offset)/d.weight%d.size]
}

// read sets the levels of a trial on some of the axes, which are given by their positions.
func (a *axes) read(index uint64, of []int, levels []uint32) error {
	if a.follow(index) {
		p := a.product(index)
		for i, at := range of {
			levels[i] = p.level(index, at)
		}
		return nil
	}
	point, err := a.snapshot.Point(a.catalog.Study, index)
	if err != nil {
		return err
	}
	for i, at := range of {
		levels[i] = a.levelIn(point, at)
	}
	return nil
}

// levelIn returns the level of a point on an axis.
func (a *axes) levelIn(point *trellisv1.Parameters, at int) uint32 {
	its := a.all[at]
	switch its.name {
	case grid.MaxEpochs:
		return its.add(trellisv1.IntegerValue(int64(point.GetMaxEpochs())))
	case grid.Seed:
		return its.add(trellisv1.IntegerValue(int64(point.GetSeed())))
	}
	value := point.GetValues()[its.name]
	if value == nil {
		return none
	}
	return its.add(value)
}

// point returns the parameters of levels: those on some of the axes.
func (a *axes) point(of []int, levels []uint32) *trellisv1.Parameters {
	point := &trellisv1.Parameters{Values: make(map[string]*trellisv1.Value, len(of))}
	for i, at := range of {
		if levels[i] == none {
			continue
		}
		value := a.all[at].values[levels[i]]
		number, _ := value.Numeric()
		switch name := a.all[at].name; name {
		case grid.MaxEpochs:
			point.MaxEpochs = uint32(number)
		case grid.Seed:
			point.Seed = uint32(number)
		default:
			point.Values[name] = value
		}
	}
	return point
}
