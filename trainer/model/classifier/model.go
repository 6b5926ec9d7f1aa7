package classifier

import (
	"trellis/trainer/kernel"
	"trellis/trainer/model"
	"trellis/trainer/model/convautoencoder"
	"trellis/trainer/model/denoisingautoencoder"
	"trellis/trainer/network"
)

// Name of the model, and of its axes.
const (
	Name     = "classifier"
	FineTune = "fine_tune"
	Shift    = "shift"
)

// Classes is how many digits there are. Data sets with fewer classes leave some unused.
const Classes = 10

// Definition is the model.
type Definition struct{}

var _ model.Network = Definition{}

// Describe says what the model is.
func (Definition) Describe() model.Model {
	var zero float64
	return model.Model{
		Name:    Name,
		Summary: "classifier: tells classes of images apart by the codes of a pretrained encoder (paper, section 4)",
		Axes: model.Axes(append(model.ShapeAxes(), model.Axis{
			Name:    FineTune,
			Summary: "0: the encoder keeps its weights and only the layers on top are trained; 1: all are",
			Kind:    model.Integer, Minimum: 0, Maximum: 1, Default: &zero,
			Size: model.SameLayers,
		}, model.Axis{
			Name: Shift,
			Summary: "training images are moved by up to so many pixels to each side, anew in each epoch; " +
				"what comes in is black. " +
				"Validation and test images stay",
			Kind: model.Integer, Minimum: 0, Maximum: 4, Default: &zero, Size: model.SameLayers,
		})...),
		Data:    true,
		MinSide: model.MinSide, MaxSide: model.MaxSide, MaxChannels: model.MaxChannels,
		Classes:    Classes,
		Pretrained: []string{convautoencoder.Name, denoisingautoencoder.Name},
		Loss:       "mean negative log-likelihood of the label",
		Metrics: []model.Metric{{
			Name: "accuracy", Summary: "fraction of the images whose label is the most probable class",
			HigherIsBetter: true,
		}},
	}
}

// Layers builds the network.
func (Definition) Layers(b *network.Builder, input network.Input, latentDim int, values model.Values) {
	x, labels := b.Images(input.Image), b.Labels(input.Classes)
	b.Shift(int(values[Shift]))

	encode := func() { x = b.ConvEncoder(x, latentDim, model.ShapeOf(values)) }
	if values[FineTune] == 0 {
		b.Frozen(encode)
	} else {
		encode()
	}
	h := b.Linear("head.0", x, 64, kernel.ReLU)
	h = b.Linear("head.2", h, input.Classes, kernel.None)
	y := b.LogSoftmax(h)
	b.Assert(y, input.Classes)
	b.Classes(y)

	b.Minimize(b.NegativeLogLikelihood(y, labels))
	b.Metric("accuracy", b.Accuracy(y, labels))
}
