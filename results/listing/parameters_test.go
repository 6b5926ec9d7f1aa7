package listing

import (
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// modelFields are those of a study of a model, with the axes that all models have.
var modelFields = FieldsOn([]grid.Parameter{
	{Name: grid.LatentDim, Kind: trellisv1.Kind_KIND_INTEGER},
	{Name: grid.LearningRate, Kind: trellisv1.Kind_KIND_NUMBER},
	{Name: grid.WeightDecay, Kind: trellisv1.Kind_KIND_NUMBER},
	{Name: grid.BatchSize, Kind: trellisv1.Kind_KIND_INTEGER},
})
