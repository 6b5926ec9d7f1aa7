package grid

import (
	"slices"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/pruning"
)

// synthetic is the model that needs no data.
const synthetic = "synthetic"

// WithDefaults returns a copy of the spec with a seed and the numbers that its pruning leaves out, if it leaves them
// out, and the axis max_epochs of a program. What the model fills in is not among them: see Models.WithDefaults. The
// split depends on the data set: see ResolveSplit.
func WithDefaults(spec *trellisv1.StudySpec) *trellisv1.StudySpec {
	spec = proto.CloneOf(spec)
	if spec.GetSeeds() == nil {
		spec.Seeds = trellisv1.AxisOf(1)
	}
	if spec.GetProgram() != nil && spec.GetFixed()[MaxEpochs] == nil {
		fill(spec, MaxEpochs, trellisv1.IntegerValue(1))
	}
	spec.Pruning = pruning.WithDefaults(spec.GetPruning())
	return spec
}

// fill sets the axis to one value in the grids that leave it out.
func fill(spec *trellisv1.StudySpec, name string, value *trellisv1.Value) {
	for _, grid := range spec.GetGrid() {
		if grid.GetAxes()[name] == nil {
			put(grid, name, trellisv1.ListOf(value))
		}
	}
}

// put sets an axis of a grid.
func put(grid *trellisv1.Grid, name string, axis *trellisv1.Axis) {
	if grid.Axes == nil {
		grid.Axes = map[string]*trellisv1.Axis{}
	}
	grid.Axes[name] = axis
}

// WithDefaults is like the function of that name, but also fills in the axes of the spec's model that have a default,
// and makes the values of all its axes those of their kinds, and it gives a study that prunes, or has a budget, an
// order.
func (models Models) WithDefaults(spec *trellisv1.StudySpec) *trellisv1.StudySpec {
	spec = WithDefaults(spec)
	models.fillObjective(spec)
	fillOrder(spec)
	model := models.Find(spec.GetModel())
	for _, axis := range model.GetAxes() {
		if axis.Default != nil && spec.GetFixed()[axis.GetName()] == nil {
			fill(spec, axis.GetName(), axis.GetDefault())
		}
	}
	ofKinds(model, spec)
	return spec
}

// fillOrder gives a spec that prunes, or has a budget, a random order: neighbors in a grid are alike, so that the
// first runs in its own order would say little of the others. It is part of what a new study gets, and not of
// WithDefaults: studies that prune have been created without an order.
func fillOrder(spec *trellisv1.StudySpec) {
	if spec.GetOrder() == trellisv1.Order_ORDER_UNSPECIFIED && (spec.GetPruning() != nil || spec.GetBudget() != nil) {
		spec.Order = trellisv1.Order_ORDER_RANDOM
	}
}

// ofKinds makes the values of a spec's axes those of the kinds that the model declares, where they are the same
// numbers.
func ofKinds(model *trellisv1.Model, spec *trellisv1.StudySpec) {
	axisOfKind(trellisv1.Kind_KIND_INTEGER, spec.GetSeeds())
	for _, grid := range spec.GetGrid() {
		for name, axis := range grid.GetAxes() {
			axisOfKind(Axis(model, name).GetKind(), axis)
		}
	}
	for name, value := range spec.GetFixed() {
		ofKind(Axis(model, name).GetKind(), value)
	}
}

// axisOfKind changes a list of numbers that are of another kind than their axis, if all are of its kind then.
func axisOfKind(kind trellisv1.Kind, axis *trellisv1.Axis) {
	switch {
	case kind == trellisv1.Kind_KIND_NUMBER && len(axis.GetIntegers()) > 0:
		axis.ToNumbers()
	case kind == trellisv1.Kind_KIND_INTEGER && len(axis.GetNumbers()) > 0:
		if slices.ContainsFunc(axis.Numbers, func(x float64) bool { return !isInteger(x) }) {
			return
		}
		for _, x := range axis.Numbers {
			axis.Integers = append(axis.Integers, int64(x))
		}
		axis.Numbers = nil
	}
}

// isInteger says whether a number is a whole one that a parameter can have.
func isInteger(x float64) bool { return isWhole(x) && -maxInteger <= x && x <= maxInteger }

// ofKind changes a number that is of another kind than that of its axis.
func ofKind(kind trellisv1.Kind, value *trellisv1.Value) {
	x, numeric := value.Numeric()
	switch {
	case !numeric || KindOf(value) == kind:
	case kind == trellisv1.Kind_KIND_NUMBER:
		value.Kind = &trellisv1.Value_Number{Number: x}
	case kind == trellisv1.Kind_KIND_INTEGER && isInteger(x):
		value.Kind = &trellisv1.Value_Integer{Integer: int64(x)}
	}
}

// WithPoint returns a copy of the spec with the values of a point on the axes that it leaves out and that all models
// have, or that shape an encoder that several have, and max_epochs.
func (models Models) WithPoint(spec *trellisv1.StudySpec, point *trellisv1.Parameters) *trellisv1.StudySpec {
	spec = proto.CloneOf(spec)
	fill(spec, MaxEpochs, Value(point, MaxEpochs))
	for _, axis := range models.Find(spec.GetModel()).GetAxes() {
		if value := point.GetValues()[axis.GetName()]; (axis.GetCommon() || axis.GetEncoder()) && value != nil {
			fill(spec, axis.GetName(), proto.CloneOf(value))
		}
	}
	return spec
}
