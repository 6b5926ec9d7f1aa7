package grid

import (
	"fmt"
	"slices"

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
	if err := models.CheckWeights(spec, dataSet); err != nil {
		return nil, err
	}
	return ResolveSplit(spec, dataSet)
}

// CheckWeights returns a *protovalidate.ValidationError if a latent dimension makes a layer too large for images of the
// data set's size. It looks at the values of that axis alone, not at the points.
func (models Models) CheckWeights(spec *trellisv1.StudySpec, dataSet *trellisv1.DataSet) error {
	model, images := models.Find(spec.GetModel()), dataSet.GetName()
	scale := uint64(max(1, model.GetFeatureScale()))
	features := uint64(model.GetFeatureChannels()) * (uint64(dataSet.GetHeight()) / scale) *
		(uint64(dataSet.GetWidth()) / scale)
	if model.GetMaxWeights() == 0 || features == 0 {
		return nil
	}
	most := model.GetMaxWeights() / features
	b := builder{}
	refuse := func(value float64, path []any) {
		b.refuse("data.weights", fmt.Sprintf(
			"latent_dim: %d is too large for the images of the data set %q, which have %d x %d pixels: a layer of the model %s "+
				"would have %s weights, and may have %s: %d fits", uint64(value), images, dataSet.GetHeight(), dataSet.GetWidth(),
			model.GetName(), grouped(uint64(value)*features), grouped(model.GetMaxWeights()), most), path...)
	}
	for i := range spec.GetGrid() {
		for _, its := range axesOf(spec, i) {
			if its.name == LatentDim {
				b.firstAbove(float64(most), its, refuse)
			}
		}
	}
	return b.err()
}

// firstAbove refuses the first value of a valid axis of numbers that is larger than most.
func (b *builder) firstAbove(most float64, its namedAxis, refuse func(value float64, path []any)) {
	above := func(value *trellisv1.Value) bool { return numberOf(value) > most }
	if list := its.axis.GetValues(); its.axis.Listed() > 0 {
		if i := slices.IndexFunc(list, above); i >= 0 {
			refuse(numberOf(list[i]), valuePath(its.path, listOf(its.axis), i))
		}
		return
	}
	field := "step"
	if r, its, _ := rangeOf(its.axis); r != nil {
		field = its
	}
	values := b.values(its.axis, its.path...).values
	if i := slices.IndexFunc(values, above); i >= 0 {
		refuse(numberOf(values[i]), append(slices.Clone(its.path), field))
	}
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
