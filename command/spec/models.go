package spec

import (
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/trainer"
)

// Models are the models that this binary trains.
func Models() grid.Models {
	var models grid.Models
	for _, model := range trainer.Models() {
		message := &trellisv1.Model{
			Name: model.Name, Summary: model.Summary, Data: model.Data, Pretrained: model.Pretrained, Loss: model.Loss,
			MinSide: uint32(model.MinSide), MaxSide: uint32(model.MaxSide), MaxChannels: uint32(model.MaxChannels),
			Classes: uint32(model.Classes),
		}
		for _, axis := range model.Axes {
			message.Axes = append(message.Axes, axisMessage(axis))
		}
		for _, metric := range model.Metrics {
			direction := trellisv1.Direction_DIRECTION_MINIMIZE
			if metric.HigherIsBetter {
				direction = trellisv1.Direction_DIRECTION_MAXIMIZE
			}
			message.Metrics = append(message.Metrics,
				&trellisv1.ModelMetric{Name: metric.Name, Summary: metric.Summary, Direction: direction})
		}
		models = append(models, message)
	}
	return models
}

func axisMessage(axis trainer.Axis) *trellisv1.ModelAxis {
	message := &trellisv1.ModelAxis{
		Name: axis.Name, Summary: axis.Summary, Kind: trellisv1.Kind_KIND_NUMBER, Minimum: axis.Minimum,
		Maximum: axis.Maximum, ExclusiveMinimum: axis.ExclusiveMinimum, Common: axis.Common,
		Encoder: axis.Encoder, Sizes: axis.Size != trainer.SizeSame, Grows: axis.Size == trainer.SizeGrows,
		SameLayers: axis.Size == trainer.SameLayers,
	}
	switch axis.Kind {
	case trainer.Integer:
		message.Kind = trellisv1.Kind_KIND_INTEGER
	case trainer.Text:
		message.Kind, message.Texts = trellisv1.Kind_KIND_TEXT, axis.Texts
	}
	switch {
	case axis.Default == nil:
	case axis.Kind == trainer.Text:
		message.Default = trellisv1.TextValue(axis.Texts[int(*axis.Default)])
	case axis.Kind == trainer.Integer:
		message.Default = trellisv1.IntegerValue(int64(*axis.Default))
	default:
		message.Default = trellisv1.NumberValue(*axis.Default)
	}
	return message
}

// AllAxes are the axes that a model of this binary has: the common ones, and those that only some have.
func AllAxes() []*trellisv1.ModelAxis {
	axes := CommonAxes()
	for _, model := range Models() {
		for _, axis := range model.GetAxes() {
			if !slices.ContainsFunc(axes, func(its *trellisv1.ModelAxis) bool { return its.GetName() == axis.GetName() }) {
				axes = append(axes, axis)
			}
		}
	}
	return axes
}

// CommonAxes are the axes of all models, max_epochs among them, in the order in which they are shown.
func CommonAxes() []*trellisv1.ModelAxis {
	model := Models()[0]
	var common []*trellisv1.ModelAxis
	for _, name := range grid.AxisNames(model) {
		if axis := grid.Axis(model, name); axis.GetCommon() || name == grid.MaxEpochs {
			common = append(common, axis)
		}
	}
	return common
}
