package grid

import (
	"fmt"

	trellisv1 "trellis/proto/trellis/v1"
)

// ResolveSplit is like the function of that name, but also refuses a data set that the spec's model can't be trained
// on: all runs of the study would fail on every worker. It does not check what is not known about a data set.
func (models Models) ResolveSplit(spec *trellisv1.StudySpec, dataSet *trellisv1.DataSet) (*trellisv1.Split, error) {
	model, name := models.Find(spec.GetModel()), dataSet.GetName()
	height, width, classes := model.GetHeight(), model.GetWidth(), model.GetClasses()
	switch {
	case height > 0 && dataSet.GetHeight() > 0 && (dataSet.GetHeight() != height || dataSet.GetWidth() != width):
		return nil, invalid("data.image_size", fmt.Sprintf(
			"the images of the data set %q have %d x %d pixels, and the model %s takes %d x %d", name, dataSet.GetHeight(),
			dataSet.GetWidth(), model.GetName(), height, width), "data")
	case classes == 0 || dataSet == nil || dataSet.Classes == nil:
	case dataSet.GetClasses() == 0:
		return nil, invalid("data.labels", fmt.Sprintf(
			"the data set %q has no labels, and the model %s learns from them", name, model.GetName()), "data")
	case dataSet.GetClasses() > classes:
		return nil, invalid("data.labels", fmt.Sprintf(
			"the data set %q has labels up to %d, and the model %s takes labels from 0 to %d", name, dataSet.GetClasses()-1,
			model.GetName(), classes-1), "data")
	}
	return ResolveSplit(spec, dataSet)
}
