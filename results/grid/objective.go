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

// losses is how many losses the points of a grid are trained on that its condition doesn't leave out.
func losses(model *trellisv1.Model, g *Grid) int {
	its := Axis(model, lossAxis)
	if its == nil {
		return 1
	}
	known, conditions := map[ValueKey]bool{}, tester{grid: g}
	for k := range g.products {
		p := &g.products[k]
		at := slices.IndexFunc(p.tested, func(t tested) bool { return t.name == lossAxis })
		axis := p.dimension(lossAxis)
		switch {
		case axis == nil:
			known[KeyOf(its.GetDefault())] = true
			continue
		case at < 0:
			for _, value := range axis.values {
				known[KeyOf(value)] = true
			}
			continue
		}
		left := map[uint64]bool{}
		for number := uint64(0); number < p.combinations && len(left) < len(axis.values); number++ {
			if conditions.cost > maxWhereCost {
				break // Refused for that.
			}
			rest := p.restOf(number)
			digit := rest / p.tested[at].weight % axis.size()
			// What can't be computed is refused for that.
			if ok, err := conditions.meets(k, p.Offset+rest); ok && err == nil && !left[digit] {
				left[digit], known[KeyOf(axis.values[digit])] = true, true
			}
		}
	}
	return len(known)
}

// checkTrainLoss refuses train_loss as the objective of a grid whose points are trained on more losses than it may
// have.
func (models Models) checkTrainLoss(b *builder, spec *trellisv1.StudySpec, g *Grid, mayHave int) {
	model := models.Find(spec.GetModel())
	if model != nil && spec.GetObjective().GetMetric() == objective.TrainLoss && losses(model, g) > mayHave {
		b.refuse("objective.train_loss", "train_loss is the mean squared error or the cross-entropy, as loss says, "+
			"so that trials with different ones don't compare: name another metric, such as validation_loss, or search one loss",
			"objective", "metric")
	}
}

// checkObjective refuses an objective, and early stopping, by a metric that the model doesn't report. What a program
// reports is known once it has run.
func (models Models) checkObjective(b *builder, spec *trellisv1.StudySpec) {
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
	}
	if o.GetEpochs() > 0 && o.GetOf() != trellisv1.Objective_SUMMARY_MEAN {
		b.refuse("objective.epochs", "only a mean is of a number of epochs: of: {mean: 5}", "objective", "epochs")
	}
	if stopping.GetDirection() != 0 && stopping.GetMetric() == "" {
		b.refuse("early_stopping.direction", "early stopping without a metric of its own has the objective's direction",
			"early_stopping", "direction")
	}
}
