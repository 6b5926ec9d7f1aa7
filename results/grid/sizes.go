package grid

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// Size is how large a network is. It is zero if there is none.
type Size struct {
	Weights uint64
	// Train and Evaluate are floating point operations for an image, and TrainSaved and EvaluateSaved those of them
	// that only the first epoch takes if something is kept of images.
	Train, Evaluate, TrainSaved, EvaluateSaved uint64
	// Memory is about what a run takes besides its data, and CoreMemory what it takes more for each further core.
	Memory, CoreMemory uint64
	// Kept is what it keeps besides of so many images that it trains on, and others that it validates and tests on. Nil
	// is nothing.
	Kept func(train, others uint64) uint64
}

// Epoch is what an epoch on so many images takes, once what is kept of them is there: floating point operations, and
// bytes of memory.
func (s Size) Epoch(split *trellisv1.Split, testImages uint32) (operations float64, memory uint64) {
	train, validation := split.GetTrain(), split.GetValidation()
	memory = s.Memory
	if s.Kept != nil {
		if kept := s.Kept(uint64(train), uint64(validation)+uint64(testImages)); kept > 0 {
			memory += kept
			s.Train, s.Evaluate = s.Train-s.TrainSaved, s.Evaluate-s.EvaluateSaved
		}
	}
	return float64(s.Train)*float64(train) + float64(s.Evaluate)*float64(validation), memory
}

// A Sizer says how large the network of a model is with a point's values on an input, of which nil is the paper's.
// The error says why there is none, and what would be right.
type Sizer func(model string, input *trellisv1.ModelInput, point *trellisv1.Parameters) (Size, error)

// Bounds of how many networks are looked at where a where leaves many combinations of which none is larger than
// another: to see whether all have one, and to find the most that they have. A look takes about a millisecond.
const (
	maxSearchLooks = 4000
	maxMostLooks   = 2000
)

// Sizes returns how large the networks of a valid spec are, the least and the most of each figure; nil for what has
// no network. It returns a *protovalidate.ValidationError if points have none, because images are too small for them
// or a layer would be too large. A study's points are not looked at one by one: the axes that make a difference are.
// Where a where leaves so many large combinations that finding the most takes too long, it is a figure that no network
// exceeds. It ends early with the error of ctx.
func (models Models) Sizes(
	ctx context.Context, sizer Sizer, spec *trellisv1.StudySpec, dataSet *trellisv1.DataSet,
) (smallest, largest *trellisv1.ModelSize, err error) {
	return models.sizes(ctx, sizer, spec, dataSet, nil)
}

// ExtendedSizes is Sizes of what Merge has made of a spec and a request. The error is about values of the request, and
// names its fields, if without these all points had a network.
func (models Models) ExtendedSizes(
	ctx context.Context, sizer Sizer, before *trellisv1.StudySpec, request *trellisv1.ExtendStudyRequest,
	merged *trellisv1.StudySpec, dataSet *trellisv1.DataSet,
) (smallest, largest *trellisv1.ModelSize, err error) {
	return models.sizes(ctx, sizer, merged, dataSet, &extension{before, request})
}

func (models Models) sizes(
	ctx context.Context, sizer Sizer, spec *trellisv1.StudySpec, dataSet *trellisv1.DataSet, extends *extension,
) (smallest, largest *trellisv1.ModelSize, err error) {
	if sizer == nil || !needsData(spec) {
		return nil, nil, nil
	}
	g, err := New(spec)
	if err != nil {
		return nil, nil, err
	}
	s := sizing{
		grid: g, model: models.Find(spec.GetModel()), sizer: sizer, input: InputOf(spec, dataSet),
		split: splitOf(spec, dataSet), images: dataSet, looksOf: map[string]int{}, extends: extends,
	}
	for k := range g.products {
		if err := s.product(ctx, spec, k); err != nil {
			return nil, nil, err
		}
	}
	return s.smallest, s.largest, s.err()
}

// sizing looks for what is too large, and for the least and the most that networks have.
type sizing struct {
	builder
	grid              *Grid
	model             *trellisv1.Model
	sizer             Sizer
	input             *trellisv1.ModelInput
	split             *trellisv1.Split
	images            *trellisv1.DataSet
	extends           *extension
	smallest, largest *trellisv1.ModelSize
	// looks are those of searches, and looksOf those of them for each combination of values with the same layers.
	looks   int
	looksOf map[string]int
}

// sizedAxis is an axis of a product on which the size depends.
type sizedAxis struct {
	*Dimension
	grows bool
	// sameLayers: whether there is a network does not depend on it.
	sameLayers bool
	// sorted are the digits, that of the smallest value first, and ranks are their places in it.
	sorted, ranks []int
	// tested is set if the condition depends on the axis.
	tested *tested
}

// product looks at product k, which is grid k of the spec. Of axes with which layers grow, their largest values say
// whether all points have a network.
func (s *sizing) product(ctx context.Context, spec *trellisv1.StudySpec, k int) error {
	p := &s.grid.products[k]
	var axes []sizedAxis
	for i := range p.Dimensions {
		d := &p.Dimensions[i]
		axis := Axis(s.model, d.Name)
		if !axis.GetSizes() || d.Size() == 0 {
			continue
		}
		sized := sizedAxis{
			Dimension: d, grows: axis.GetGrows(), sameLayers: axis.GetSameLayers(), ranks: make([]int, d.Size()),
		}
		for digit := range d.values {
			sized.sorted = append(sized.sorted, digit)
		}
		slices.SortStableFunc(sized.sorted, func(a, b int) int { return Compare(d.values[a], d.values[b]) })
		for rank, digit := range sized.sorted {
			sized.ranks[digit] = rank
		}
		if at := slices.IndexFunc(p.tested, func(t tested) bool { return t.name == d.Name }); at >= 0 {
			sized.tested = &p.tested[at]
		}
		axes = append(axes, sized)
	}
	groups, err := s.alike(ctx, k, axes)
	refused := map[string]bool{}
	for _, group := range groups {
		layers, has := group.among(axes, false), len(s.violations)
		if refused[layers] {
			continue
		}
		if err := s.group(ctx, spec, k, axes, group); err != nil {
			return err
		}
		refused[layers] = len(s.violations) > has
	}
	return err
}

// sizedGroup are the combinations of values that points have and that differ only on axes with which layers grow.
type sizedGroup struct {
	// least are the ranks of one that none of the others is smaller than, and product is that of its values.
	least   []int
	product float64
	// most is the largest rank on the last of the axes that are swept, for each combination of ranks on the others; -1
	// if there is none.
	most []int
	// front are the ranks of those than which none of the others is larger.
	front [][]int
}

// alike groups the combinations on the axes of product k that points have.
func (s *sizing) alike(ctx context.Context, k int, axes []sizedAxis) ([]*sizedGroup, error) {
	p := &s.grid.products[k]
	met, err := s.grid.met(ctx, k)
	if err != nil {
		return nil, err
	}
	if met == nil {
		met = []bool{true}
	}
	swept, cells := sweptAxes(axes)
	var groups []*sizedGroup
	known := map[int]*sizedGroup{}
	ranks := make([]int, len(axes))
	for number, ok := range met {
		if number%interruptEvery == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if !ok {
			continue
		}
		rest, key, product := p.restOf(uint64(number)), 0, 1.0
		for i := range axes {
			axis := &axes[i]
			if t := axis.tested; t != nil {
				ranks[i] = axis.ranks[rest/t.weight%uint64(len(t.values))]
			}
			if axis.grows {
				product *= numberOf(axis.at(ranks[i]))
			} else {
				key = key*len(axis.values) + ranks[i]
			}
		}
		group := known[key]
		if group == nil {
			group = &sizedGroup{product: math.Inf(1), most: slices.Repeat([]int{-1}, cells)}
			known[key], groups = group, append(groups, group)
		}
		if product < group.product {
			group.product, group.least = product, slices.Clone(ranks)
		}
		cell, last := 0, 0
		for n, i := range swept {
			if last = ranks[i]; n < len(swept)-1 {
				cell = cell*len(axes[i].values) + last
			}
		}
		group.most[cell] = max(group.most[cell], last)
	}
	for _, group := range groups {
		group.sweep(axes, swept)
	}
	// Of axes on which the condition does not depend, all values occur.
	for i := range axes {
		if axes[i].grows || axes[i].tested != nil {
			continue
		}
		var all []*sizedGroup
		for _, group := range groups {
			for _, rank := range axes[i].ranks {
				all = append(all, group.with(i, rank))
			}
		}
		groups = all
	}
	return groups, nil
}

// sweptAxes are the places of axes with which layers grow and on which the condition depends, one with the most values
// last, and how many combinations the others have.
func sweptAxes(axes []sizedAxis) (swept []int, cells int) {
	for i := range axes {
		if axes[i].grows && axes[i].tested != nil {
			swept = append(swept, i)
		}
	}
	slices.SortStableFunc(swept, func(i, j int) int { return cmp.Compare(len(axes[i].values), len(axes[j].values)) })
	cells = 1
	for n, i := range swept {
		if n < len(swept)-1 {
			cells *= len(axes[i].values)
		}
	}
	return swept, cells
}

// sweep finds the front of the group, in steps for each cell, of which there may be many: a combination is in it if
// none with a larger value on another axis has as large a value on the last.
func (g *sizedGroup) sweep(axes []sizedAxis, swept []int) {
	others := swept[:max(0, len(swept)-1)]
	// next calls a function with the next cell on each of the axes.
	next := func(n, stride, cell int) (int, bool) {
		count := len(axes[others[n]].values)
		return cell + stride, cell/stride%count < count-1
	}
	strides := make([]int, len(others))
	for n, stride := len(others)-1, 1; n >= 0; n-- {
		strides[n], stride = stride, stride*len(axes[others[n]].values)
	}
	// from is the most on the last axis of all cells whose ranks on the others are as large.
	from := slices.Clone(g.most)
	for n := range others {
		for cell := len(from) - 1; cell >= 0; cell-- {
			if after, ok := next(n, strides[n], cell); ok {
				from[cell] = max(from[cell], from[after])
			}
		}
	}
	for cell, last := range g.most {
		larger := last < 0
		for n := range others {
			after, ok := next(n, strides[n], cell)
			larger = larger || ok && from[after] >= last
		}
		if larger {
			continue
		}
		ranks := slices.Clone(g.least)
		for i := range axes {
			if axes[i].grows {
				ranks[i] = len(axes[i].values) - 1
			}
		}
		for n, i := range others {
			ranks[i] = cell / strides[n] % len(axes[i].values)
		}
		if len(swept) > 0 {
			ranks[swept[len(swept)-1]] = last
		}
		g.front = append(g.front, ranks)
	}
}

// with is a group with another rank on an axis with which layers don't just grow.
func (g *sizedGroup) with(i, rank int) *sizedGroup {
	changed := func(ranks []int) []int {
		ranks = slices.Clone(ranks)
		ranks[i] = rank
		return ranks
	}
	another := &sizedGroup{least: changed(g.least)}
	for _, ranks := range g.front {
		another.front = append(another.front, changed(ranks))
	}
	return another
}

// group looks at the combinations of a group: at one that none of the others is smaller than, and at what is needed of
// those than which none is larger.
func (s *sizing) group(
	ctx context.Context, spec *trellisv1.StudySpec, k int, axes []sizedAxis, group *sizedGroup,
) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	product := func(ranks []int) (product float64) {
		product = 1
		for i, rank := range ranks {
			if axes[i].grows {
				product *= numberOf(axes[i].at(rank))
			}
		}
		return product
	}
	largest := slices.MaxFunc(group.front, func(a, b []int) int { return cmp.Compare(product(a), product(b)) })
	size, err := s.size(k, axes, largest)
	if err != nil {
		s.refuseSize(spec, k, axes, largest, err)
		return nil
	}
	s.note(size)
	if len(group.front) > 1 {
		if ok, err := s.search(ctx, spec, k, axes, group); err != nil || !ok {
			return err
		}
	}
	// What is smaller than what fits does too.
	if size, err = s.size(k, axes, group.least); err == nil {
		s.note(size)
	}
	return nil
}

// sizedBox are combinations, and the size of a network that is at least as large as those of all of them.
type sizedBox struct {
	points [][]int
	size   *trellisv1.ModelSize
}

// search notes the most that the networks of combinations have. If the largest values on each axis fit together, all
// of them fit; else it looks at halves. It says whether all fit, and otherwise has refused what does not.
func (s *sizing) search(
	ctx context.Context, spec *trellisv1.StudySpec, k int, axes []sizedAxis, group *sizedGroup,
) (ok bool, err error) {
	var fit []sizedBox
	var tooLarge [][][]int
	like := group.among(axes, true)
	for boxes := [][][]int{group.front}; ; {
		for _, points := range boxes {
			if ctx.Err() != nil {
				return false, ctx.Err()
			}
			s.looks++
			s.looksOf[like]++
			_, corner := cornersOf(points)
			size, err := s.size(k, axes, corner)
			switch {
			case err == nil && len(points) == 1:
				s.note(size)
			case err == nil:
				fit = append(fit, sizedBox{points, size})
			case len(points) == 1:
				s.refuseSize(spec, k, axes, corner, err)
				return false, nil
			case s.looksOf[like] >= maxSearchLooks:
				s.refuse("where", fmt.Sprintf("where: leaves too many large combinations to see whether all of them fit %s, "+
					"as %s do not: %v: leave out more of them, or use smaller axes", s.imagesInWords(),
					s.inPoint(k, s.point(k, axes, corner), axes, ""), err), "where")
				return false, nil
			default:
				tooLarge = append(tooLarge, points)
			}
		}
		for len(fit) > 0 && s.within(fit[0].size) {
			fit = fit[1:]
		}
		switch last := len(tooLarge) - 1; {
		case last >= 0:
			boxes, tooLarge = halvesOf(tooLarge[last]), tooLarge[:last]
		case len(fit) > 0 && s.looks < maxMostLooks:
			boxes, fit = halvesOf(fit[0].points), fit[1:]
		default:
			for _, box := range fit {
				s.noteMost(box.size)
			}
			return true, nil
		}
	}
}

// cornersOf returns the smallest and the largest rank of combinations on each axis.
func cornersOf(points [][]int) (low, high []int) {
	low, high = slices.Clone(points[0]), slices.Clone(points[0])
	for _, ranks := range points {
		for i, rank := range ranks {
			low[i], high[i] = min(low[i], rank), max(high[i], rank)
		}
	}
	return low, high
}

// halvesOf divides two or more combinations in the middle of the axis on which they differ most.
func halvesOf(points [][]int) [][][]int {
	low, high := cornersOf(points)
	widest := 0
	for i := range low {
		if high[i]-low[i] > high[widest]-low[widest] {
			widest = i
		}
	}
	halves := make([][][]int, 2)
	for _, ranks := range points {
		half := 0
		if ranks[widest] > (low[widest]+high[widest])/2 {
			half = 1
		}
		halves[half] = append(halves[half], ranks)
	}
	return halves
}

// at is the axis's value of a rank.
func (a *sizedAxis) at(rank int) *trellisv1.Value { return a.values[a.sorted[rank]] }

// point is one of product k with the ranks on the axes.
func (s *sizing) point(k int, axes []sizedAxis, ranks []int) *trellisv1.Parameters {
	point := s.grid.at(k, s.grid.products[k].Offset)
	for i, axis := range axes {
		point.Values[axis.Name] = axis.at(ranks[i])
	}
	return point
}

// size computes the size of a network; nil if the model has none.
func (s *sizing) size(k int, axes []sizedAxis, ranks []int) (*trellisv1.ModelSize, error) {
	size, err := s.sizer(s.model.GetName(), s.input, s.point(k, axes, ranks))
	if err != nil || size.Weights == 0 && size.Memory == 0 {
		return nil, err
	}
	operations, memory := size.Epoch(s.split, s.images.GetTestImages())
	return &trellisv1.ModelSize{
		Weights: size.Weights, Memory: memory, CoreMemory: size.CoreMemory, Operations: operations,
	}, nil
}

// note notes the size of a network.
func (s *sizing) note(its *trellisv1.ModelSize) {
	if its == nil {
		return
	}
	if s.smallest == nil {
		s.smallest, s.largest = proto.CloneOf(its), proto.CloneOf(its)
	}
	low := s.smallest
	low.Weights, low.Operations = min(low.Weights, its.Weights), min(low.Operations, its.Operations)
	low.Memory, low.CoreMemory = min(low.Memory, its.Memory), min(low.CoreMemory, its.CoreMemory)
	s.noteMost(its)
}

// noteMost notes what networks don't exceed, where others have been noted.
func (s *sizing) noteMost(its *trellisv1.ModelSize) {
	high := s.largest
	high.Weights, high.Operations = max(high.Weights, its.Weights), max(high.Operations, its.Operations)
	high.Memory, high.CoreMemory = max(high.Memory, its.Memory), max(high.CoreMemory, its.CoreMemory)
}

// within says whether the most that was noted is as much.
func (s *sizing) within(its *trellisv1.ModelSize) bool {
	high := s.largest
	return its.GetWeights() <= high.GetWeights() && its.GetOperations() <= high.GetOperations() &&
		its.GetMemory() <= high.GetMemory() && its.GetCoreMemory() <= high.GetCoreMemory()
}
