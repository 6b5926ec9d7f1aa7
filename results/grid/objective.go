package grid

import (
	"fmt"
	"slices"
	"strings"

	"trellis/proto/template"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/objective"
	"trellis/results/spelling"
)

// metricsOf returns the names of what an objective may name of a model: its losses and metrics.
func metricsOf(model *trellisv1.Model) []string {
	names := []string{objective.ValidationLoss, objective.TrainLoss}
	for _, metric := range model.GetMetrics() {
		names = append(names, objective.ValidationPrefix+metric.GetName(), objective.TrainPrefix+metric.GetName())
	}
	return names
}

// directionOf returns which values of a model's metric are better. Of losses, lower ones are.
func directionOf(model *trellisv1.Model, name string) trellisv1.Direction {
	for _, metric := range model.GetMetrics() {
		if name == objective.ValidationPrefix+metric.GetName() || name == objective.TrainPrefix+metric.GetName() {
			return metric.GetDirection()
		}
	}
	return trellisv1.Direction_DIRECTION_UNSPECIFIED
}

// fillObjective completes the objective and the early stopping of a spec, which are nobody else's. Which values are
// better is said by the model's table if the spec doesn't: a study does not depend on which models a coordinator knows
// later.
func (models Models) fillObjective(spec *trellisv1.StudySpec) {
	model := models.Find(spec.GetModel())
	if o := spec.GetObjective(); o != nil {
		if o.GetDirection() == 0 {
			o.Direction = directionOf(model, objective.Metric(o))
		}
		spec.Objective = objective.WithDefaults(o)
	}
	stopping := spec.GetEarlyStopping()
	if stopping.GetMetric() == "" || stopping.GetDirection() != 0 || stopping.GetMetric() == objective.Metric(spec.Objective) {
		return
	}
	stopping.Direction = directionOf(model, stopping.GetMetric())
}

// unknownMetric says that a model has no metric of a name, and which one was probably meant: that on the validation
// images where a name says no more.
func unknownMetric(name string, names []string) string {
	if meant := objective.ValidationPrefix + strings.TrimPrefix(name, "val_"); slices.Contains(names, meant) {
		return fmt.Sprintf("unknown metric %q: did you mean %q?", name, meant)
	}
	return spelling.Unknown("metric", name, names)
}

// lossAxis says what a model's networks are trained on, and so what train_loss is.
const lossAxis = "loss"

// losses is how many losses the points of a spec are trained on.
func losses(model *trellisv1.Model, spec *trellisv1.StudySpec) int {
	its := Axis(model, lossAxis)
	if its == nil {
		return 1
	}
	known := map[ValueKey]bool{}
	for k := range spec.GetGrid() {
		values := []*trellisv1.Value{its.GetDefault()}
		for _, axis := range axesOf(spec, k) {
			if axis.name == lossAxis {
				values = (&builder{}).values(axis.axis).values
			}
		}
		for _, value := range values {
			known[KeyOf(value)] = true
		}
	}
	return len(known)
}

// checkObjective refuses an objective, and early stopping, by a metric that the model doesn't report. What a program
// reports is known once it has run. By train_loss, so many losses may be compared.
func (models Models) checkObjective(b *builder, spec *trellisv1.StudySpec, mayHave int) {
	o, stopping := spec.GetObjective(), spec.GetEarlyStopping()
	if spec.GetProgram() != nil {
		if o.GetMetric() == "" {
			b.refuse("objective.metric", "missing objective: the metric that the program reports and trials are ranked by, for "+
				"example objective: {metric: val_acc, direction: maximize}", "objective")
		}
		check := func(metric, field string) {
			if metric != "" && !template.Metric.MatchString(metric) {
				b.refuse("metric.name", "a program's metric must have at most 63 letters, digits and characters of _ . / -, and begin "+
					"with a letter or _", field, "metric")
			}
		}
		check(o.GetMetric(), "objective")
		check(stopping.GetMetric(), "early_stopping")
	} else if model := models.Find(spec.GetModel()); model != nil {
		names := metricsOf(model)
		check := func(metric, field string) {
			if metric != "" && !slices.Contains(names, metric) {
				b.refuse("metric.unknown", unknownMetric(metric, names), field, "metric")
			}
		}
		check(o.GetMetric(), "objective")
		check(stopping.GetMetric(), "early_stopping")
		if o.GetMetric() == objective.TrainLoss && losses(model, spec) > mayHave {
			b.refuse("objective.train_loss", "train_loss is the mean squared error or the cross-entropy, as loss says, "+
				"so that trials with different ones don't compare: name another metric, such as validation_loss, or search one loss", "objective", "metric")
		}
	}
	if o.GetEpochs() > 0 && o.GetOf() != trellisv1.Objective_SUMMARY_MEAN {
		b.refuse("objective.epochs", "only a mean is of a number of epochs: of: {mean: 5}", "objective", "epochs")
	}
	if stopping.GetDirection() != 0 && stopping.GetMetric() == "" {
		b.refuse("early_stopping.direction", "early stopping without a metric of its own has the objective's direction",
			"early_stopping", "direction")
	}
}
