package grid

import trellisv1 "trellis/proto/trellis/v1"

// Names of the axes that every model has.
const (
	latentDim    = "latent_dim"
	learningRate = "learning_rate"
	weightDecay  = "weight_decay"
	maxEpochs    = "max_epochs"
)

// MaxAxisValues is how many values an axis may have, by the rules of its message.
const MaxAxisValues = 10_000

// commonAxes are those that every model has, with the bounds that the rules of study.proto state.
var commonAxes = []*trellisv1.ModelAxis{
	{Name: latentDim, Minimum: 1, Maximum: 784, Integer: true},
	{Name: learningRate, Minimum: 0, Maximum: 1000, ExclusiveMinimum: true},
	{Name: weightDecay, Minimum: 0, Maximum: 1000},
	{Name: maxEpochs, Minimum: 1, Maximum: 10_000, Integer: true},
}

// Axis returns the bounds of an axis that every model has, or that this model has; nil if it has none of that name.
// Without a model, or of one that is not known, they are those of the common axes.
func Axis(model *trellisv1.Model, name string) *trellisv1.ModelAxis {
	for _, axis := range commonAxes {
		if axis.GetName() == name {
			return axis
		}
	}
	return axisOf(model, name)
}
