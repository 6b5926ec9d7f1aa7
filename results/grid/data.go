package grid

import (
	"cmp"
	"fmt"
	"maps"
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
			"the images of the data set %q have %d x %d pixels, and the model %s takes %d to %d a side",
			name, height, width,
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

// refuseSize refuses a combination, at the value without which it would do, if there is one: then it says which would.
// Of an extension's, it is one that was asked for: the others are those of the study.
func (s *sizing) refuseSize(spec *trellisv1.StudySpec, k int, axes []sizedAxis, ranks []int, problem error) {
	point, images := s.point(k, axes, ranks), s.imagesInWords()
	blamed := func(its namedAxis) bool {
		return slices.ContainsFunc(axes, func(axis sizedAxis) bool { return axis.Name == its.name && !axis.sameLayers })
	}
	asked := slices.DeleteFunc(s.extends.asked(k, point), func(its namedAxis) bool { return !blamed(its) })
	its := asked
	if len(asked) == 0 {
		its = axesOf(spec, k)
	}
	slices.SortStableFunc(its, func(a, b namedAxis) int {
		return cmp.Compare(s.unusual(point, b.name), s.unusual(point, a.name))
	})
	if len(asked) > 0 {
		defer func() { nameAsRequested(s.violations[len(s.violations)-1]) }()
	}
	for _, its := range its {
		at := slices.IndexFunc(axes, func(axis sizedAxis) bool { return axis.Name == its.name })
		if at < 0 || axes[at].sameLayers {
			continue
		}
		fits, limit := s.fitting(point, its.name)
		if fits == "" {
			continue
		}
		list := (&builder{}).values(its.axis)
		unfit := []*trellisv1.Value{point.Values[its.name]}
		if axes[at].grows && axes[at].tested == nil {
			// All that are too large. What is wrong is said of the first.
			unfit = slices.DeleteFunc(slices.Clone(list.values), func(value *trellisv1.Value) bool {
				return numberOf(value) <= limit
			})
			point.Values[its.name] = unfit[0]
		}
		digit, _ := list.position(point.Values[its.name])
		path := valuePath(its.path, listOf(its.axis), int(digit))
		if r, field, _ := rangeOf(its.axis); r != nil {
			path = append(slices.Clone(its.path), field)
		} else if its.axis.GetStep() != nil {
			path = append(slices.Clone(its.path), "step")
		}
		_, problem = s.sizer(s.model.GetName(), s.input, point)
		others := ""
		if with := s.inPoint(k, point, axes, its.name); with != "" {
			others = ", with " + with
		}
		s.refuse("data.network", fmt.Sprintf("%s: %s fit %s%s: %v: %s%s", its.name, doNot(unfit), images, others,
			problem, fits,
			s.orWhere(axes)), path...)
		return
	}
	var path []any
	if len(asked) > 0 {
		path = its[0].path
	} else {
		path = s.concerned(spec, k, axes, point)
	}
	s.refuse("data.network", fmt.Sprintf("%s do not fit %s: %v%s", s.inPoint(k, point, axes, ""), images, problem,
		s.orWhere(axes)), path...)
}

// namedUnfit is how many values are named that do not fit, and one more if that is all.
const namedUnfit = 3

// doNot names values, with the verb for what they don't do.
func doNot(values []*trellisv1.Value) string {
	if len(values) == 1 {
		return inWords(values[0]) + " does not"
	}
	var words []string
	for _, value := range values {
		words = append(words, inWords(value))
	}
	if more := len(words) - namedUnfit; more > 1 {
		words = append(words[:namedUnfit], fmt.Sprintf("%d more", more))
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1] + " do not"
}

// orWhere says what else helps where not all combinations of a grid's values fit. An extension can't change a
// condition.
func (s *sizing) orWhere(axes []sizedAxis) string {
	several := 0
	for _, axis := range axes {
		if !axis.sameLayers && len(axis.values) > 1 {
			several++
		}
	}
	if several < 2 || s.extends != nil {
		return ""
	}
	return "; or leave out such combinations with where"
}

// extension is what a request adds to a spec. A nil one adds nothing.
type extension struct {
	before  *trellisv1.StudySpec
	request *trellisv1.ExtendStudyRequest
}

// adds says whether a value of an axis of grid k is an added one.
func (e *extension) adds(k int, name string, value *trellisv1.Value) bool {
	if e == nil || e.request.GetAxes()[name] == nil {
		return false
	}
	had := (&builder{}).values(e.before.GetGrid()[k].GetAxes()[name])
	_, there := had.position(value)
	return !there
}

// asked are the axes of grid k on which a point has an added value, as the request has them.
func (e *extension) asked(k int, point *trellisv1.Parameters) (asked []namedAxis) {
	if e == nil {
		return nil
	}
	for _, name := range slices.SortedFunc(maps.Keys(e.request.GetAxes()), CompareNames) {
		if value := point.GetValues()[name]; value != nil && e.adds(k, name, value) {
			asked = append(asked, namedAxis{name, e.request.GetAxes()[name], axisPath(k, name)})
		}
	}
	return asked
}

// concerned leads to an axis of a point that does not fit, where no other value of one axis is enough: one with which
// layers grow if their smallest values fit, and else one of the others, and rather one whose value is not its default.
func (s *sizing) concerned(spec *trellisv1.StudySpec, k int, axes []sizedAxis, point *trellisv1.Parameters) []any {
	small := proto.CloneOf(point)
	for _, axis := range axes {
		if axis.grows {
			small.Values[axis.Name] = trellisv1.IntegerValue(int64(Axis(s.model, axis.Name).GetMinimum()))
		}
	}
	_, err := s.sizer(s.model.GetName(), s.input, small)
	path := []any{"data"}
	for _, its := range axesOf(spec, k) {
		at := slices.IndexFunc(axes, func(axis sizedAxis) bool { return axis.Name == its.name })
		if at < 0 || axes[at].sameLayers || axes[at].grows != (err == nil) {
			continue
		}
		if !proto.Equal(point.Values[its.name], Axis(s.model, its.name).GetDefault()) {
			return its.path
		}
		path = its.path
	}
	return path
}

// usualLatentDim stands for the default of an axis that has none.
const usualLatentDim = 32

// unusual is how far a point's value of a number is from its default: what is too large for the images is rather due to
// what somebody has chosen than to what is always so.
func (s *sizing) unusual(point *trellisv1.Parameters, name string) float64 {
	value, is := point.Values[name].Numeric()
	usual, has := Axis(s.model, name).GetDefault().Numeric()
	if !is || value <= 0 {
		return 0
	}
	if !has || usual <= 0 {
		usual = usualLatentDim
	}
	if !Axis(s.model, name).GetGrows() && value < usual {
		return usual / value
	}
	return value / usual
}

// among are the values of a group's combinations on axes with which layers don't grow: those with the same layers, or
// the others. Groups that differ only in the former have networks or not for the same reasons.
func (g *sizedGroup) among(axes []sizedAxis, sameLayers bool) string {
	var ranks []int
	for i, axis := range axes {
		if !axis.grows && axis.sameLayers == sameLayers {
			ranks = append(ranks, g.least[i])
		}
	}
	return fmt.Sprint(ranks)
}

// inPoint are a point's values on the axes but one, in words. It says which of them a study that is extended has.
// Those with the same layers make no difference.
func (s *sizing) inPoint(k int, point *trellisv1.Parameters, axes []sizedAxis, except string) string {
	var parts, had []string
	for _, axis := range axes {
		value := point.Values[axis.Name]
		switch part := axis.Name + " " + inWords(value); {
		case axis.Name == except || axis.sameLayers:
		case s.extends != nil && !s.extends.adds(k, axis.Name, value):
			had = append(had, part)
		default:
			parts = append(parts, part)
		}
	}
	words := strings.Join(parts, ", ")
	if len(had) == 0 {
		return words
	}
	if words != "" {
		words += " and "
	}
	return words + "the study's " + strings.Join(had, ", ")
}

func (s *sizing) imagesInWords() string {
	return fmt.Sprintf("the images of the data set %q, which have %d x %d pixels", s.images.GetName(),
		s.images.GetHeight(), s.images.GetWidth())
}

// fitting says which values of an axis would make a point fit; "" if none would. If layers grow with the axis, limit is
// the largest of them. The point keeps its value.
func (s *sizing) fitting(point *trellisv1.Parameters, name string) (words string, limit float64) {
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
			return "", 0
		}
		return fmt.Sprintf("%d fits", least+n-1), float64(least + n - 1)
	}
	var others []string
	for x := least; x <= int(axis.GetMaximum()); x++ {
		if fits(x) {
			others = append(others, strconv.Itoa(x))
		}
	}
	switch len(others) {
	case 0:
		return "", 0
	case 1:
		return others[0] + " fits", 0
	}
	return strings.Join(others[:len(others)-1], ", ") + " and " + others[len(others)-1] + " fit", 0
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
