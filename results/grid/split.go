package grid

import (
	"fmt"

	"buf.build/go/protovalidate"

	trellisv1 "trellis/proto/trellis/v1"
)

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
