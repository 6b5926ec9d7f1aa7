package grid

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// digits is what models were given when there was no other input, and what an unset input means.
var digits = trellisv1.ModelInput{Channels: 1, Height: 28, Width: 28, Classes: 10}

// InputOf returns what the network of a spec's model is given on a data set: nil for gray images of 28 x 28 pixels and
// up to ten classes. A network has ten classes at least, as the paper's.
func InputOf(spec *trellisv1.StudySpec, dataSet *trellisv1.DataSet) *trellisv1.ModelInput {
	if !needsData(spec) || dataSet.GetHeight() == 0 {
		return nil
	}
	input := &trellisv1.ModelInput{
		Channels: max(1, dataSet.GetChannels()), Height: dataSet.GetHeight(), Width: dataSet.GetWidth(),
		Classes: max(digits.Classes, dataSet.GetClasses()),
	}
	if proto.Equal(input, &digits) {
		return nil
	}
	return input
}

// ResolveSplit is like the function of that name, but also refuses a data set that the spec's model can't be trained
// on: all runs of the study would fail on every worker. It does not check what is not known about a data set.
func (models Models) ResolveSplit(spec *trellisv1.StudySpec, dataSet *trellisv1.DataSet) (*trellisv1.Split, error) {
	model, name := models.Find(spec.GetModel()), dataSet.GetName()
	height, width, channels := dataSet.GetHeight(), dataSet.GetWidth(), dataSet.GetChannels()
	smallest, largest := model.GetMinSide(), model.GetMaxSide()
	switch {
	case largest > 0 && height > 0 && (min(height, width) < smallest || max(height, width) > largest):
		return nil, invalid("data.image_size", fmt.Sprintf(
			"the images of the data set %q have %d x %d pixels, and the model %s takes %d to %d a side", name, height, width,
			model.GetName(), smallest, largest), "data")
	case model.GetMaxChannels() > 0 && channels > model.GetMaxChannels():
		return nil, invalid("data.image_channels", fmt.Sprintf(
			"the images of the data set %q have %d channels, and the model %s takes 1 to %d", name, channels,
			model.GetName(), model.GetMaxChannels()), "data")
	case model.GetClasses() > 0 && dataSet.GetClasses() == 0 && dataSet != nil && dataSet.Classes != nil:
		return nil, invalid("data.labels", fmt.Sprintf(
			"the data set %q has no labels, and the model %s learns from them", name, model.GetName()), "data")
	}
	return ResolveSplit(spec, dataSet)
}

// Size is how large a network is.
type Size struct {
	Weights uint64
	// Train and Evaluate are floating point operations for an image.
	Train, Evaluate uint64
	// Memory is about what a run takes besides its data.
	Memory uint64
}

// A Sizer says how large the network of a model is with a point's values on an input, of which nil is the paper's.
// The error says why there is none, and what would be right.
type Sizer func(model string, input *trellisv1.ModelInput, point *trellisv1.Parameters) (Size, error)

// Sizes returns how large the networks of a valid spec are, the least and the most of each figure; nil for what has
// no network. It returns a *protovalidate.ValidationError if points have none, because images are too small for them
// or a layer would be too large. A study's points are not looked at one by one: the axes that make a difference are.
func (models Models) Sizes(
	sizer Sizer, spec *trellisv1.StudySpec, dataSet *trellisv1.DataSet,
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
		split: splitOf(spec, dataSet), images: dataSet,
	}
	for k := range g.products {
		s.product(spec, k)
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
	smallest, largest *trellisv1.ModelSize
}

// sizedAxis is an axis of a product on which the size depends.
type sizedAxis struct {
	*Dimension
	grows bool
	// least and most are the digits of its smallest and its largest value.
	least, most int
}

// product looks at product k, which is grid k of the spec. Of axes with which layers grow, their largest values say
// whether all points have a network.
func (s *sizing) product(spec *trellisv1.StudySpec, k int) {
	p := &s.grid.products[k]
	var axes []sizedAxis
	for i := range p.Dimensions {
		d := &p.Dimensions[i]
		if axis := Axis(s.model, d.Name); axis.GetSizes() && d.Size() > 0 {
			axes = append(axes, sizedAxis{
				d, axis.GetGrows(), slices.Index(d.values, slices.MinFunc(d.values, Compare)),
				slices.Index(d.values, slices.MaxFunc(d.values, Compare)),
			})
		}
	}
	for _, group := range s.alike(k, axes) {
		s.group(spec, k, axes, group)
	}
}

// alike are the combinations of digits on the axes of product k that points have, grouped by the values on axes with
// which layers don't just grow. A digit of an axis with which they do is -1 if all of its values occur.
func (s *sizing) alike(k int, axes []sizedAxis) [][][]int {
	p, met := &s.grid.products[k], s.grid.Met(k)
	if met == nil {
		met = []bool{true}
	}
	var found [][]int
	seen := map[string]bool{}
	for number, ok := range met {
		if !ok {
			continue
		}
		digits, rest := make([]int, len(axes)), p.restOf(uint64(number))
		for i, axis := range axes {
			digits[i] = -1
			for _, t := range p.tested {
				if t.name == axis.Name {
					digits[i] = int(rest / t.weight % uint64(len(t.values)))
				}
			}
		}
		if key := fmt.Sprint(digits); !seen[key] {
			seen[key] = true
			found = append(found, digits)
		}
	}
	for i, axis := range axes {
		var all [][]int
		for _, digits := range found {
			if axis.grows || digits[i] >= 0 {
				all = append(all, digits)
				continue
			}
			for digit := range axis.values {
				another := slices.Clone(digits)
				another[i] = digit
				all = append(all, another)
			}
		}
		found = all
	}
	var groups [][][]int
	places := map[string]int{}
	for _, digits := range found {
		key := slices.Clone(digits)
		for i, axis := range axes {
			if axis.grows {
				key[i] = 0
			}
		}
		place, ok := places[fmt.Sprint(key)]
		if !ok {
			place = len(groups)
			places[fmt.Sprint(key)], groups = place, append(groups, nil)
		}
		groups[place] = append(groups[place], digits)
	}
	return groups
}

// group looks at combinations that differ only on axes with which layers grow: at the largest, and at one that none
// of the others is smaller than.
func (s *sizing) group(spec *trellisv1.StudySpec, k int, axes []sizedAxis, group [][]int) {
	filled := func(digits []int, with func(sizedAxis) int) []int {
		digits = slices.Clone(digits)
		for i, axis := range axes {
			if digits[i] < 0 {
				digits[i] = with(axis)
			}
		}
		return digits
	}
	number := func(digits []int, i int) float64 { return numberOf(axes[i].values[digits[i]]) }
	product := func(digits []int) (product float64) {
		product = 1
		for i := range digits {
			product *= number(digits, i)
		}
		return product
	}
	bySize := func(a, b []int) int { return cmp.Compare(product(a), product(b)) }
	var most, least [][]int
	for _, digits := range group {
		most = append(most, filled(digits, func(axis sizedAxis) int { return axis.most }))
		least = append(least, filled(digits, func(axis sizedAxis) int { return axis.least }))
	}
	slices.SortStableFunc(most, func(a, b []int) int { return bySize(b, a) })
	var fit [][]int
	for _, digits := range most {
		smaller := func(than []int) bool {
			for i := range digits {
				if number(digits, i) > number(than, i) {
					return false
				}
			}
			return true
		}
		if slices.ContainsFunc(fit, smaller) {
			continue
		}
		if err := s.note(k, axes, digits); err != nil {
			s.refuseSize(spec, k, axes, digits, err)
			return
		}
		fit = append(fit, digits)
	}
	// What is smaller than what fits does too.
	_ = s.note(k, axes, slices.MinFunc(least, bySize))
}

// point is one of product k with the digits on the axes.
func (s *sizing) point(k int, axes []sizedAxis, digits []int) *trellisv1.Parameters {
	point := s.grid.at(k, s.grid.products[k].Offset)
	for i, axis := range axes {
		point.Values[axis.Name] = axis.values[digits[i]]
	}
	return point
}

// note computes the size of a network.
func (s *sizing) note(k int, axes []sizedAxis, digits []int) error {
	size, err := s.sizer(s.model.GetName(), s.input, s.point(k, axes, digits))
	if err != nil || size == (Size{}) {
		return err
	}
	its := &trellisv1.ModelSize{
		Weights: size.Weights, Memory: size.Memory,
		Operations: float64(size.Train)*float64(s.split.GetTrain()) +
			float64(size.Evaluate)*float64(s.split.GetValidation()),
	}
	if s.smallest == nil {
		s.smallest, s.largest = its, proto.CloneOf(its)
	}
	low, high := s.smallest, s.largest
	low.Weights, high.Weights = min(low.Weights, its.Weights), max(high.Weights, its.Weights)
	low.Operations, high.Operations = min(low.Operations, its.Operations), max(high.Operations, its.Operations)
	low.Memory, high.Memory = min(low.Memory, its.Memory), max(high.Memory, its.Memory)
	return nil
}

// refuseSize refuses a combination, at the value without which it would do, if there is one: then it says which would.
func (s *sizing) refuseSize(spec *trellisv1.StudySpec, k int, axes []sizedAxis, digits []int, problem error) {
	point := s.point(k, axes, digits)
	words := func(except string) string {
		var parts []string
		for _, axis := range axes {
			if axis.Name != except {
				parts = append(parts, axis.Name+" "+inWords(point.Values[axis.Name]))
			}
		}
		return strings.Join(parts, ", ")
	}
	images := fmt.Sprintf("the images of the data set %q, which have %d x %d pixels", s.images.GetName(),
		s.images.GetHeight(), s.images.GetWidth())
	for _, its := range axesOf(spec, k) {
		at := slices.IndexFunc(axes, func(axis sizedAxis) bool { return axis.Name == its.name })
		if at < 0 {
			continue
		}
		fits := s.fitting(point, its.name)
		if fits == "" {
			continue
		}
		digit := digits[at]
		if axes[at].grows && !s.grid.products[k].Tests(its.name) {
			digit = s.firstWrong(point, &axes[at])
		}
		path := valuePath(its.path, listOf(its.axis), digit)
		if r, field, _ := rangeOf(its.axis); r != nil {
			path = append(slices.Clone(its.path), field)
		} else if its.axis.GetStep() != nil {
			path = append(slices.Clone(its.path), "step")
		}
		_, problem = s.sizer(s.model.GetName(), s.input, point)
		others := ""
		if len(axes) > 1 {
			others = ", with " + words(its.name)
		}
		s.refuse("data.network", fmt.Sprintf("%s: %s does not fit %s%s: %v: %s", its.name,
			inWords(point.Values[its.name]), images, others, problem, fits), path...)
		return
	}
	s.refuse("data.network", fmt.Sprintf("%s do not fit %s: %v", words(""), images, problem), "grid", k)
}

// firstWrong returns the digit of an axis's first value that makes a point too large, as some do, and gives the point
// that value.
func (s *sizing) firstWrong(point *trellisv1.Parameters, axis *sizedAxis) int {
	return slices.IndexFunc(axis.values, func(value *trellisv1.Value) bool {
		point.Values[axis.Name] = value
		_, err := s.sizer(s.model.GetName(), s.input, point)
		return err != nil
	})
}

// fitting says which values of an axis would make a point fit; "" if none would. The point keeps its value.
func (s *sizing) fitting(point *trellisv1.Parameters, name string) string {
	is, axis := point.Values[name], Axis(s.model, name)
	defer func() { point.Values[name] = is }()
	fits := func(x int) bool {
		point.Values[name] = trellisv1.IntegerValue(int64(x))
		_, err := s.sizer(s.model.GetName(), s.input, point)
		return err == nil
	}
	least, most := int(axis.GetMinimum()), int(numberOf(is))
	if axis.GetGrows() {
		n := sort.Search(most-least, func(n int) bool { return !fits(least + n) })
		if n == 0 {
			return ""
		}
		return fmt.Sprintf("%d fits", least+n-1)
	}
	var others []string
	for x := least; x <= int(axis.GetMaximum()); x++ {
		if fits(x) {
			others = append(others, strconv.Itoa(x))
		}
	}
	switch len(others) {
	case 0:
		return ""
	case 1:
		return others[0] + " fits"
	}
	return strings.Join(others[:len(others)-1], ", ") + " and " + others[len(others)-1] + " fit"
}

// ResolveSplit returns how the spec divides the data set's training images. By default, the last sixth is for
// validation and the rest for training, as in the paper for MNIST. It returns nil for programs and the model
// "synthetic", which need no data, and a *protovalidate.ValidationError if the data set has too few images.
func ResolveSplit(spec *trellisv1.StudySpec, dataSet *trellisv1.DataSet) (*trellisv1.Split, error) {
	have, split := dataSet.GetTrainImages(), splitOf(spec, dataSet)
	switch {
	case split == nil:
		return nil, nil
	case have < 2:
		return nil, invalid("data.size", fmt.Sprintf(
			"the data set %q has %d training images: at least one has to train and one to validate",
			dataSet.GetName(), have), "data")
	// In 64 bits, in which the sum can't overflow.
	case uint64(split.GetTrain())+uint64(split.GetValidation()) > uint64(have):
		return nil, invalid("split.size", fmt.Sprintf(
			"the data set %q has %s training images, and train: %d and validation: %d together are more",
			dataSet.GetName(), grouped(uint64(have)), split.GetTrain(), split.GetValidation()), "split")
	}
	return split, nil
}

// splitOf returns the split that ResolveSplit checks.
func splitOf(spec *trellisv1.StudySpec, dataSet *trellisv1.DataSet) *trellisv1.Split {
	if !needsData(spec) {
		return nil
	}
	if spec.GetSplit() != nil {
		return spec.GetSplit()
	}
	validation := max(1, dataSet.GetTrainImages()/6)
	return &trellisv1.Split{Train: dataSet.GetTrainImages() - validation, Validation: validation}
}

// Refuse returns an error about the field of a spec that path leads to: see Violation.
func Refuse(rule, message string, path ...any) error { return invalid(rule, message, path...) }

func invalid(rule, message string, path ...any) error {
	return &protovalidate.ValidationError{
		Violations: []*protovalidate.Violation{violation(rule, message, path...)},
	}
}
