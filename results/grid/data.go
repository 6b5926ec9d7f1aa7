package grid

import (
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

// refuseSize refuses a combination, at the value without which it would do, if there is one: then it says which would.
func (s *sizing) refuseSize(spec *trellisv1.StudySpec, k int, axes []sizedAxis, ranks []int, problem error) {
	point, images := s.point(k, axes, ranks), s.imagesInWords()
	for _, its := range axesOf(spec, k) {
		at := slices.IndexFunc(axes, func(axis sizedAxis) bool { return axis.Name == its.name })
		if at < 0 {
			continue
		}
		fits, limit := s.fitting(point, its.name)
		if fits == "" {
			continue
		}
		digit := axes[at].sorted[ranks[at]]
		if axes[at].grows && axes[at].tested == nil {
			// The first value that is too large.
			digit = slices.IndexFunc(axes[at].values, func(value *trellisv1.Value) bool { return numberOf(value) > limit })
			point.Values[its.name] = axes[at].values[digit]
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
			others = ", with " + inPoint(point, axes, its.name)
		}
		s.refuse("data.network", fmt.Sprintf("%s: %s does not fit %s%s: %v: %s", its.name,
			inWords(point.Values[its.name]), images, others, problem, fits), path...)
		return
	}
	s.refuse("data.network", fmt.Sprintf("%s do not fit %s: %v", inPoint(point, axes, ""), images, problem), "grid", k)
}

// inPoint are a point's values on the axes but one, in words.
func inPoint(point *trellisv1.Parameters, axes []sizedAxis, except string) string {
	var parts []string
	for _, axis := range axes {
		if axis.Name != except {
			parts = append(parts, axis.Name+" "+inWords(point.Values[axis.Name]))
		}
	}
	return strings.Join(parts, ", ")
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
