package grid

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"buf.build/go/protovalidate"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/spelling"
)

// Models are the models that can be trained. They determine which specs are valid.
type Models []*trellisv1.Model

// Find returns the model with the name, or nil if there is none.
func (models Models) Find(name string) *trellisv1.Model {
	for _, model := range models {
		if model.GetName() == name {
			return model
		}
	}
	return nil
}

// names of the models, in their order.
func (models Models) names() []string {
	var names []string
	for _, model := range models {
		names = append(names, model.GetName())
	}
	return names
}

// WithDefaults is like the function of that name, but also fills in the axes that only the model has.
func (models Models) WithDefaults(spec *trellisv1.StudySpec) *trellisv1.StudySpec {
	spec = WithDefaults(spec)
	models.fillObjective(spec)
	for _, axis := range models.Find(spec.GetModel()).GetAxes() {
		if axis.Default == nil {
			continue
		}
		for _, grid := range spec.GetGrid() {
			if grid.GetAxes()[axis.GetName()] != nil {
				continue
			}
			if grid.Axes == nil {
				grid.Axes = map[string]*trellisv1.NumberAxis{}
			}
			grid.Axes[axis.GetName()] = &trellisv1.NumberAxis{Values: []float64{axis.GetDefault()}}
		}
	}
	return spec
}

// check refuses what the spec's model does not take.
func (models Models) check(b *builder, spec *trellisv1.StudySpec) {
	if b.checkTrainee(spec); spec.GetProgram() != nil && spec.GetModel() != "" {
		return // What follows depends on which of them is meant.
	} else if spec.GetProgram() != nil {
		b.checkProgram(spec)
		return
	}
	if spec.GetModel() == "" {
		return
	}
	model := models.Find(spec.GetModel())
	if model == nil {
		// Whether it needs data is not known either.
		b.violations = slices.DeleteFunc(b.violations,
			func(v *protovalidate.Violation) bool { return v.Proto.GetRuleId() == "study.data" })
		b.refuse("study.model", spelling.Unknown("model", spec.GetModel(), models.names()), "model")
		return
	}
	b.checkPretrained(spec, model.GetPretrained())
	for i, grid := range spec.GetGrid() {
		for _, name := range slices.Sorted(maps.Keys(grid.GetAxes())) {
			if axis := axisOf(model, name); axis != nil {
				b.checkBounds(axis, grid.GetAxes()[name], path(i, name))
			} else {
				b.refuse("axis.unknown", models.unknownAxis(model, name), path(i, name)...)
				b.violations[len(b.violations)-1].Proto.SetForKey(true)
			}
		}
		for _, axis := range model.GetAxes() {
			if axis.Default == nil && grid.GetAxes()[axis.GetName()] == nil {
				b.refuse("axis.required", fmt.Sprintf("%s is missing: %s has no default for this axis, which takes %s",
					axis.GetName(), model.GetName(), bounds(axis)), path(i, axis.GetName())...)
			}
		}
	}
}

// path leads to an axis that only the model has.
func path(grid int, axis string) []any { return []any{"grid", grid, "axes", mapKey(axis)} }

// checkLatentDims refuses grids without a latent dimension, unless it will be that of the weights to begin with.
func (b *builder) checkLatentDims(spec *trellisv1.StudySpec) {
	for i, grid := range spec.GetGrid() {
		if grid.GetLatentDim() == nil && spec.GetPretrained().GetStudy() == "" {
			b.refuse("required", "value is required", "grid", i, "latent_dim")
		}
	}
}

// axisOf returns the axis of that name which only this model has, nil if there is none.
func axisOf(model *trellisv1.Model, name string) *trellisv1.ModelAxis {
	for _, axis := range model.GetAxes() {
		if axis.GetName() == name {
			return axis
		}
	}
	return nil
}

// unknownAxis says that the model has no axis of that name, and who has or what was likely meant.
func (models Models) unknownAxis(model *trellisv1.Model, name string) string {
	var others []string
	for _, other := range models {
		if axisOf(other, name) != nil {
			others = append(others, other.GetName())
		}
	}
	if len(others) == 0 {
		return spelling.Unknown("axis", name, AxisNames(model))
	}
	return fmt.Sprintf("%s has no axis %q, only %s: must be one of %s", model.GetName(), name,
		strings.Join(others, ", "),
		strings.Join(AxisNames(model), ", "))
}

// AxisNames returns the names of all axes of the model's grids. If model is nil, it returns those that every model has.
func AxisNames(model *trellisv1.Model) []string {
	var names []string
	for _, axis := range CommonAxes {
		if axis.InGrid() {
			names = append(names, axis.GetName())
		}
	}
	for _, axis := range model.GetAxes() {
		names = append(names, axis.GetName())
	}
	return names
}

// bounds says in words which values an axis takes.
func bounds(axis *trellisv1.ModelAxis) string {
	text := "numbers "
	if axis.GetInteger() {
		text = "whole numbers "
	}
	if axis.GetExclusiveMinimum() {
		return text + fmt.Sprintf("above %s and at most %s", number(axis.GetMinimum()), number(axis.GetMaximum()))
	}
	return text + fmt.Sprintf("between %s and %s", number(axis.GetMinimum()), number(axis.GetMaximum()))
}

// checkBounds refuses values that lie outside, and listed ones that are not whole where they must be.
func (b *builder) checkBounds(axis *trellisv1.ModelAxis, values *trellisv1.NumberAxis, path []any) {
	valid := func(value float64) bool {
		return axis.GetMinimum() <= value && value <= axis.GetMaximum() &&
			!(axis.GetExclusiveMinimum() && value == axis.GetMinimum())
	}
	refuse := func(value float64, path ...any) {
		b.refuse("axis.bounds", fmt.Sprintf("%s takes %s, not %s", axis.GetName(), bounds(axis), number(value)),
			path...)
	}
	for i, value := range values.GetValues() {
		if !valid(value) || axis.GetInteger() && !isWhole(value) {
			refuse(value, append(path, "values", i)...)
			return
		}
	}
	if r, field, _ := rangeOf(values); r != nil {
		for _, end := range []float64{r.GetFrom(), r.GetTo()} {
			if !valid(end) {
				refuse(end, append(path, field)...)
				return
			}
		}
	}
}

// checkWhole refuses ranges of the model's own axes whose points are not whole where they must be.
func (models Models) checkWhole(b *builder, spec *trellisv1.StudySpec) {
	for _, axis := range models.Find(spec.GetModel()).GetAxes() {
		for i, grid := range spec.GetGrid() {
			r, field, logarithmic := rangeOf(grid.GetAxes()[axis.GetName()])
			if r == nil || !axis.GetInteger() {
				continue
			}
			if wrong := notWhole(r, logarithmic); wrong != "" {
				b.refuse("axis.whole", wrong, append(path(i, axis.GetName()), field)...)
			}
		}
	}
}

// axisName is what an axis may be called: a name in a spec and in a filter.
var axisName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

// taken are names of what else than axes a spec has, and trials are ordered and filtered by.
var taken = []string{
	"axes", "study", "index", "state", "run", "error", "objective", "best_epoch", "epochs", "test_loss", "train_loss",
	"validation_loss",
}

// isTaken says whether no axis of a model may have the name.
func isTaken(name string) bool {
	return slices.Contains(taken, name) || slices.ContainsFunc(CommonAxes[:], func(common CommonAxis) bool {
		return name == common.GetName() || name == common.Field()
	})
}

// Check returns an error if the models themselves are wrong: missing, duplicate or invalid names, axes without values,
// or defaults that are out of bounds.
func (models Models) Check() error {
	for i, model := range models {
		name := model.GetName()
		if name == "" || models.Find(name) != model {
			return fmt.Errorf("model %d is called %q: a model must have a unique name", i+1, name)
		}
		for j, axis := range model.GetAxes() {
			b := builder{}
			switch {
			case !axisName.MatchString(axis.GetName()) || isTaken(axis.GetName()):
				return fmt.Errorf("model %s: axis %d is called %q: it needs lower-case letters, digits and underscores, and a name "+
					"that no other parameter or result of trials has", name, j+1, axis.GetName())
			case axisOf(model, axis.GetName()) != axis:
				return fmt.Errorf("model %s has two axes called %s", name, axis.GetName())
			case !(axis.GetMinimum() < axis.GetMaximum()) || math.IsInf(axis.GetMinimum(), 0) ||
				math.IsInf(axis.GetMaximum(), 0):
				return fmt.Errorf("model %s: axis %s has no values between %v and %v", name, axis.GetName(),
					axis.GetMinimum(),
					axis.GetMaximum())
			}
			if axis.Default == nil {
				continue
			}
			b.checkBounds(axis, &trellisv1.NumberAxis{Values: []float64{axis.GetDefault()}}, path(0, axis.GetName()))
			if err := b.err(); err != nil {
				return fmt.Errorf("model %s: the default of an axis: %w", name, err)
			}
		}
	}
	return nil
}
