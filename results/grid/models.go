package grid

import (
	"fmt"
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

// check refuses what the spec's model does not take.
func (models Models) check(b *builder, spec *trellisv1.StudySpec) {
	if b.checkTrainee(spec); spec.GetProgram() != nil && spec.GetModel() != "" {
		return // What follows depends on which of them is meant.
	} else if spec.GetProgram() != nil {
		b.checkProgram(spec)
		b.checkEpochsAndSeeds(spec)
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
	fixed := map[string]bool{}
	for i := range spec.GetGrid() {
		for _, its := range axesOf(spec, i) {
			if its.path[0] == "fixed" {
				if fixed[its.name] {
					continue
				}
				fixed[its.name] = true
			}
			if axis := Axis(model, its.name); axis != nil {
				b.checkBounds(axis, its.axis, its.path)
			} else {
				b.refuse("axis.unknown", models.unknownAxis(model, its.name), its.path...)
				b.violations[len(b.violations)-1].Proto.SetForKey(true)
			}
		}
		for _, axis := range append([]*trellisv1.ModelAxis{maxEpochs}, model.GetAxes()...) {
			fromWeights := axis.GetName() == LatentDim && spec.GetPretrained().GetStudy() != ""
			if axis.Default == nil && !fromWeights && spec.GetGrid()[i].GetAxes()[axis.GetName()] == nil &&
				spec.GetFixed()[axis.GetName()] == nil {
				b.missing(model, axis, i)
			}
		}
	}
	b.checkEpochsAndSeeds(spec)
}

// checkEpochsAndSeeds refuses values of what the coordinator knows that are out of bounds.
func (b *builder) checkEpochsAndSeeds(spec *trellisv1.StudySpec) {
	if spec.GetSeeds() != nil {
		b.checkBounds(seeds, spec.GetSeeds(), []any{Seeds})
	}
	for i := range spec.GetGrid() {
		for _, its := range axesOf(spec, i) {
			if its.name == MaxEpochs && spec.GetProgram() != nil {
				b.checkBounds(maxEpochs, its.axis, its.path)
			}
		}
	}
}

// Axis returns the axis of that name that a model has, max_epochs among them, or nil if there is none. If the model is
// nil, it only knows max_epochs.
func Axis(model *trellisv1.Model, name string) *trellisv1.ModelAxis {
	if name == MaxEpochs {
		return maxEpochs
	}
	for _, axis := range model.GetAxes() {
		if axis.GetName() == name {
			return axis
		}
	}
	return nil
}

// missing refuses a grid that leaves out an axis without a default.
func (b *builder) missing(model *trellisv1.Model, axis *trellisv1.ModelAxis, grid int) {
	path := axisPath(grid, axis.GetName())
	if axis.GetCommon() || axis == maxEpochs {
		b.refuse("required", "value is required", path...)
		return
	}
	b.refuse("axis.required", fmt.Sprintf("%s is missing: %s has no default for this axis, which takes %s",
		axis.GetName(), model.GetName(), Bounds(axis)), path...)
}

// unknownAxis says that the model has no axis of that name, and who has or what was likely meant.
func (models Models) unknownAxis(model *trellisv1.Model, name string) string {
	var others []string
	for _, other := range models {
		if Axis(other, name) != nil {
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

// AxisNames returns the names of all axes of the model's grids, in the order of the digits.
func AxisNames(model *trellisv1.Model) []string {
	names := []string{MaxEpochs}
	for _, axis := range model.GetAxes() {
		names = append(names, axis.GetName())
	}
	slices.SortFunc(names, CompareNames)
	return names
}

// Bounds says in words which values an axis takes.
func Bounds(axis *trellisv1.ModelAxis) string {
	text := "numbers "
	switch axis.GetKind() {
	case trellisv1.Kind_KIND_TEXT:
		return strings.Join(axis.GetTexts(), ", ")
	case trellisv1.Kind_KIND_BOOLEAN:
		return "true or false"
	case trellisv1.Kind_KIND_INTEGER:
		text = "whole numbers "
	}
	if axis.GetExclusiveMinimum() {
		return text + fmt.Sprintf("above %s and at most %s", written(axis.GetMinimum()), written(axis.GetMaximum()))
	}
	return text + fmt.Sprintf("between %s and %s", written(axis.GetMinimum()), written(axis.GetMaximum()))
}

// takes says whether an axis takes a value.
func takes(axis *trellisv1.ModelAxis, value *trellisv1.Value) bool {
	x, isNumber := value.Numeric()
	switch axis.GetKind() {
	case trellisv1.Kind_KIND_TEXT:
		return slices.Contains(axis.GetTexts(), value.GetText())
	case trellisv1.Kind_KIND_BOOLEAN:
		return KindOf(value) == trellisv1.Kind_KIND_BOOLEAN
	case trellisv1.Kind_KIND_INTEGER:
		if !isWhole(x) {
			return false
		}
	}
	return isNumber && axis.GetMinimum() <= x && x <= axis.GetMaximum() &&
		!(axis.GetExclusiveMinimum() && x == axis.GetMinimum())
}

// checkBounds refuses values that an axis does not take, and ranges whose ends it does not take.
func (b *builder) checkBounds(axis *trellisv1.ModelAxis, values *trellisv1.Axis, path []any) {
	refuse := func(value *trellisv1.Value, path ...any) {
		b.refuse("axis.bounds", fmt.Sprintf("%s takes %s, not %s", axis.GetName(), Bounds(axis), inWords(value)), path...)
	}
	known := len(b.violations)
	if values.Listed() > 0 {
		b.listed(values, slices.Clone(path))
	}
	for i, value := range values.GetValues() {
		if len(b.violations) == known && !takes(axis, value) {
			refuse(value, valuePath(path, listOf(values), i)...)
			return
		}
	}
	var ends []float64
	r, field, _ := rangeOf(values)
	if r != nil {
		ends = []float64{r.GetFrom(), r.GetTo()}
	} else if step := values.GetStep(); step != nil {
		field, ends = "step", []float64{step.GetFrom(), step.GetTo()}
	}
	for _, end := range ends {
		inside := axis.GetMinimum() <= end && end <= axis.GetMaximum() &&
			!(axis.GetExclusiveMinimum() && end == axis.GetMinimum())
		if ordered := isNumeric(axis.GetKind()); !ordered || !inside {
			refuse(trellisv1.NumberValue(end), append(path, field)...)
			return
		}
	}
}

// checkWhole refuses ranges whose points are not whole where the model, or max_epochs or the seeds, takes whole numbers.
func (models Models) checkWhole(b *builder, spec *trellisv1.StudySpec) {
	b.checkWhole(seeds, spec.GetSeeds(), []any{Seeds})
	for i := range spec.GetGrid() {
		for _, its := range axesOf(spec, i) {
			b.checkWhole(Axis(models.Find(spec.GetModel()), its.name), its.axis, its.path)
		}
	}
}

func (b *builder) checkWhole(axis *trellisv1.ModelAxis, values *trellisv1.Axis, path []any) {
	if axis.GetKind() != trellisv1.Kind_KIND_INTEGER {
		return
	}
	if r, field, logarithmic := rangeOf(values); r != nil {
		if wrong := notWhole(r, logarithmic); wrong != "" {
			b.refuse("axis.whole", wrong, append(path, field)...)
		}
	} else if step := values.GetStep(); step != nil && (!isWhole(step.GetFrom()) || !isWhole(step.GetBy())) {
		b.refuse("axis.whole", fmt.Sprintf("%s takes whole numbers: from and by must be whole", axis.GetName()),
			append(path, "step")...)
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
	return slices.Contains(taken, name) || name == MaxEpochs || name == Seed || name == Seeds
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
			switch {
			case !axisName.MatchString(axis.GetName()) || isTaken(axis.GetName()):
				return fmt.Errorf("model %s: axis %d is called %q: it needs lower-case letters, digits and underscores, and a name "+
					"that no other parameter or result of trials has", name, j+1, axis.GetName())
			case Axis(model, axis.GetName()) != axis:
				return fmt.Errorf("model %s has two axes called %s", name, axis.GetName())
			case axis.GetKind() == trellisv1.Kind_KIND_UNSPECIFIED:
				return fmt.Errorf("model %s: axis %s has no kind", name, axis.GetName())
			case axis.GetKind() == trellisv1.Kind_KIND_TEXT && len(axis.GetTexts()) == 0:
				return fmt.Errorf("model %s: axis %s has no texts", name, axis.GetName())
			case isNumeric(axis.GetKind()) && (!(axis.GetMinimum() < axis.GetMaximum()) ||
				math.IsInf(axis.GetMinimum(), 0) || math.IsInf(axis.GetMaximum(), 0)):
				return fmt.Errorf("model %s: axis %s has no values between %v and %v", name, axis.GetName(),
					axis.GetMinimum(),
					axis.GetMaximum())
			}
			if axis.Default != nil && !takes(axis, axis.GetDefault()) {
				return fmt.Errorf("model %s: the default of an axis: %s takes %s, not %s", name, axis.GetName(), Bounds(axis),
					inWords(axis.GetDefault()))
			}
		}
	}
	return nil
}
