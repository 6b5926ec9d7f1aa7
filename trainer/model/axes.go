package model

import "slices"

// Kind is the kind of a parameter's values.
type Kind int

const (
	Number Kind = iota + 1
	Integer
	// Text is one of the axis's Texts, as a value its place among them.
	Text
)

// Effect is what a value of an axis does to the size of a model's network.
type Effect int

const (
	// Same: it makes no difference.
	Same Effect = iota
	// Grows: with a larger value no layer is smaller, and images that are too small stay so.
	Grows
	// Varies: it depends.
	Varies
	// SameLayers: layers and weights are the same, and so is whether there are any, but what they take is not.
	SameLayers
)

// Maximum values of common axes. They bound memory use; smaller values may not make sense either.
const (
	MaxLatentDim = 784
	MaxBatchSize = 65536
)

// common are the axes that all models have: this is the only list of them.
var common = []Axis{
	{
		Name: "latent_dim", Summary: "size of the encoded space", Kind: Integer,
		Minimum: 1, Maximum: MaxLatentDim, Common: true, Size: Grows,
	},
	{
		Name: "learning_rate", Summary: "Adam's step size", Kind: Number,
		Minimum: 0, Maximum: 1000, ExclusiveMinimum: true, Common: true,
	},
	{
		Name: "weight_decay", Summary: "L2 penalty that Adam adds to the gradient", Kind: Number,
		Minimum: 0, Maximum: 1000, Default: new(0.0), Common: true,
	},
	{
		Name: "batch_size", Summary: "images per optimiser step", Kind: Integer, Minimum: 1, Maximum: MaxBatchSize,
		Default: new(256.0), Common: true,
	},
}

// Axes are a model's axes: the common ones, and behind them those that only the model has.
func Axes(own ...Axis) []Axis { return slices.Concat(common, own) }

// Own are the axes that only the model has.
func (m *Model) Own() (own []Axis) {
	for _, axis := range m.Axes {
		if !axis.Common {
			own = append(own, axis)
		}
	}
	return own
}

// Axis is that of a name; one without a name if there is none.
func (m *Model) Axis(name string) Axis {
	for _, axis := range m.Axes {
		if axis.Name == name {
			return axis
		}
	}
	return Axis{}
}
