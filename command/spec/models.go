package spec

import (
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
			Height: uint32(model.Height), Width: uint32(model.Width), Classes: uint32(model.Classes),
		}
		for _, axis := range model.Axes {
			message.Axes = append(message.Axes, &trellisv1.ModelAxis{
				Name: axis.Name, Summary: axis.Summary, Integer: axis.Integer, Minimum: axis.Minimum,
				Maximum:          axis.Maximum,
				ExclusiveMinimum: axis.ExclusiveMinimum, Default: axis.Default,
			})
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
