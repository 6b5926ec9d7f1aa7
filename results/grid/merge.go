package grid

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// Merge returns the spec with the values of a request added to its axes, in every grid, or with a larger budget. New
// values come after an axis's existing ones, in the order of the request. Existing values keep their places. An axis
// that gets new values becomes a list; other axes stay as they were written. Everything else in the spec stays.
//
// Like Validate, it returns a *protovalidate.ValidationError if something is wrong. The error names fields of the
// request if its values are invalid, and fields of the merged spec if there would be too many values. A larger grid
// does not take longer.
//
// Of the axes that only the model has, only those in the spec can be extended: the study's trials have no value on an
// axis that was added to the model since.
func (models Models) Merge(
	spec *trellisv1.StudySpec, request *trellisv1.ExtendStudyRequest,
) (*trellisv1.StudySpec, error) {
	if err := models.validateValues(spec, request); err != nil {
		return nil, err
	}
	merged := WithDefaults(spec)
	if err := raiseBudget(merged, request); err != nil {
		return nil, err
	}
	merged.Seeds = extended(merged.Seeds, request.GetSeeds())
	for _, grid := range merged.Grid {
		for name, more := range request.GetAxes() {
			if grid.GetAxes()[name] != nil {
				grid.Axes[name] = extended(grid.Axes[name], more)
			}
		}
	}
	model := models.Find(merged.GetModel())
	ofKinds(model, merged)
	mayHave := 1
	if has, err := New(WithDefaults(spec)); err == nil {
		mayHave = max(mayHave, losses(model, has))
	}
	if err := models.validate(merged, mayHave); err != nil {
		return nil, err
	}
	return merged, nil
}

// validateValues says what is wrong with the values of a request, whatever spec they are added to: it checks them as a
// spec of their own. Axes that the request leaves out have a single value there.
func (models Models) validateValues(spec *trellisv1.StudySpec, request *trellisv1.ExtendStudyRequest) error {
	alone := &trellisv1.StudySpec{
		Name: spec.GetName(), Data: spec.GetData(), Model: spec.GetModel(), Pretrained: spec.GetPretrained(),
		Program: spec.GetProgram(), Objective: spec.GetObjective(), Fixed: spec.GetFixed(), Seeds: request.GetSeeds(),
		Grid: []*trellisv1.Grid{{}},
	}
	grid := alone.Grid[0]
	for _, its := range spec.GetGrid() {
		for name, axis := range its.GetAxes() {
			put(grid, name, trellisv1.ListOf((&builder{}).values(axis).values[0]))
		}
	}
	for name, axis := range request.GetAxes() {
		put(grid, name, axis)
	}
	err := notFixed(spec, request)
	if err == nil {
		err = models.Validate(alone)
	}
	if err == nil {
		err = hasAxes(spec, request)
	}
	if err == nil && spec.GetProgram() != nil {
		err = ofSameKinds(spec, request)
	}
	if invalid, ok := errors.AsType[*protovalidate.ValidationError](err); ok {
		for _, violation := range invalid.Violations {
			nameAsRequested(violation)
		}
	}
	return err
}

// notFixed refuses values of parameters that are fixed, and of the seed, which is no axis.
func notFixed(spec *trellisv1.StudySpec, request *trellisv1.ExtendStudyRequest) error {
	b := builder{}
	for _, name := range slices.Sorted(maps.Keys(request.GetAxes())) {
		if value := spec.GetFixed()[name]; value != nil {
			b.refuse("axis.fixed", fmt.Sprintf("%s is fixed at %s in this study: to search over it, submit a new study "+
				"with %s in its grid", name, inWords(value), name), axisPath(0, name)...)
		} else if name == Seed {
			b.refuse("axis.seed", "seed is not an axis: add seeds instead", axisPath(0, name)...)
		}
	}
	return b.err()
}

// hasAxes refuses values on axes that no grid of the spec has.
func hasAxes(spec *trellisv1.StudySpec, request *trellisv1.ExtendStudyRequest) error {
	b := builder{}
	for _, name := range slices.Sorted(maps.Keys(request.GetAxes())) {
		has := func(grid *trellisv1.Grid) bool { return grid.GetAxes()[name] != nil }
		if !slices.ContainsFunc(spec.GetGrid(), has) {
			b.refuse("axis.absent", fmt.Sprintf("the study's trials have no %s, to which values could be added: submit a new "+
				"study", name), axisPath(0, name)...)
		}
	}
	return b.err()
}

// ofSameKinds refuses values of another kind than a program's axis has, and numbers on one of whole numbers: the
// program gets these as integers, and would get them as numbers if the study had had the others from the start.
func ofSameKinds(spec *trellisv1.StudySpec, request *trellisv1.ExtendStudyRequest) error {
	b := builder{}
	for _, its := range Parameters(spec) {
		for _, value := range (&builder{}).values(request.GetAxes()[its.Name]).values {
			kind := KindOf(value)
			if x, numeric := value.Numeric(); numeric && (its.Kind == trellisv1.Kind_KIND_NUMBER || isWhole(x)) {
				kind = trellisv1.Kind_KIND_NUMBER
				if isNumeric(its.Kind) {
					kind = its.Kind
				}
			}
			if kind != its.Kind {
				b.refuse("axis.kind", fmt.Sprintf("all values of %s are %s, and %s is %s: submit a new study", its.Name,
					kindsInWords[its.Kind], inWords(value), kindInWords[KindOf(value)]), axisPath(0, its.Name)...)
				break
			}
		}
	}
	return b.err()
}

// nameAsRequested takes "grid[0]" from the path of a violation: a request has its axes at the top.
func nameAsRequested(violation *protovalidate.Violation) {
	elements := violation.Proto.GetField().GetElements()
	if len(elements) < 2 || elements[0].GetFieldName() != "grid" {
		return
	}
	violation.Proto = proto.CloneOf(violation.Proto)
	violation.Proto.Field = validate.FieldPath_builder{Elements: elements[1:]}.Build()
}

// extended returns the axis with the values of another that it does not have. Both are valid; each may be nil.
func extended(a, more *trellisv1.Axis) *trellisv1.Axis {
	if more == nil {
		return a
	}
	has := axis{}
	if a != nil {
		has = (&builder{}).values(a)
	}
	var added []*trellisv1.Value
	for _, value := range (&builder{}).values(more).values {
		if _, there := has.position(value); !there {
			added = append(added, value)
		}
	}
	if len(added) == 0 {
		return a
	}
	return trellisv1.ListOf(slices.Concat(has.values, added)...)
}

// Extends says whether Merge could have made the spec all from some: every axis has all values of the other, in every
// grid, the budget allows all that the other does, and nothing else differs.
func Extends(all, some *trellisv1.StudySpec) bool {
	all, some = WithDefaults(all), WithDefaults(some)
	if !allows(all.Budget, some.Budget) {
		return false
	}
	all.Budget = some.Budget
	return extends(all, some)
}

// OnlyRaises says whether two specs differ in nothing but their budgets, and that of all allows all that the other
// does.
func OnlyRaises(all, some *trellisv1.StudySpec) bool {
	return Extends(all, some) && Extends(withBudget(some, all), all)
}

func withBudget(spec, of *trellisv1.StudySpec) *trellisv1.StudySpec {
	spec = proto.CloneOf(spec)
	spec.Budget = of.GetBudget()
	return spec
}

// extends is Extends for specs with defaults and equal budgets.
func extends(all, some *trellisv1.StudySpec) bool {
	if len(all.Grid) != len(some.Grid) || !hasAll(all.Seeds, some.Seeds) {
		return false
	}
	for i, grid := range some.Grid {
		if len(all.Grid[i].GetAxes()) != len(grid.GetAxes()) {
			return false
		}
		for name, axis := range grid.GetAxes() {
			if more := all.Grid[i].GetAxes()[name]; more == nil || !hasAll(more, axis) {
				return false
			}
		}
	}
	all, some = proto.CloneOf(all), proto.CloneOf(some)
	for _, spec := range []*trellisv1.StudySpec{all, some} {
		spec.Seeds, spec.Grid = nil, nil
	}
	return proto.Equal(all, some)
}

// hasAll says whether an axis has all values of another.
func hasAll(all, some *trellisv1.Axis) bool { return extended(all, some) == all }

// Sampled says whether a spec has a budget that leaves out what is beyond its numbers of trials or epochs. A budget of
// time leaves out nothing beforehand.
func Sampled(spec *trellisv1.StudySpec) bool {
	return spec.GetBudget().GetTrials() > 0 || spec.GetBudget().GetEpochs() > 0
}

// allows says whether a budget allows all that another one does. Without a budget, everything is.
func allows(budget, other *trellisv1.Budget) bool {
	atLeast := func(n, m uint64) bool { return n == 0 || m > 0 && n >= m }
	return atLeast(budget.GetTrials(), other.GetTrials()) && atLeast(budget.GetEpochs(), other.GetEpochs()) &&
		(budget.GetTime() == nil ||
			other.GetTime() != nil && budget.GetTime().AsDuration() >= other.GetTime().AsDuration())
}

// raiseBudget gives a spec the budget that a request asks for, or refuses it.
func raiseBudget(spec *trellisv1.StudySpec, request *trellisv1.ExtendStudyRequest) error {
	b := builder{}
	wanted, has := request.GetBudget(), spec.GetBudget()
	switch asks := wanted != nil || request.GetDropBudget(); {
	case !asks:
		return nil
	case wanted != nil && request.GetDropBudget():
		b.refuse("budget.dropped", "a budget can be raised or dropped, not both", "budget")
	case has == nil:
		b.refuse("budget.none", "the study has no budget that could be raised: it trains its whole grid", "budget")
	case request.GetDropBudget():
		if points, err := New(spec); err == nil && points.Size() > MaxTrials {
			b.refuse("budget.dropped", fmt.Sprintf("without a budget, a study has at most %s trials, and its grid has "+
				"%s points: raise the budget instead", grouped(MaxTrials), grouped(points.Size())), "budget")
		}
		spec.Budget = nil
	default:
		raised := proto.CloneOf(has)
		proto.Merge(raised, wanted)
		b.checkRaised(raised, has)
		spec.Budget = raised
	}
	return b.err()
}

// CheckLengthened refuses a budget that the runs which a study has would exceed with the max_epochs that it is extended
// by.
func CheckLengthened(budget *trellisv1.Budget, trials, epochs uint64) error {
	for _, its := range []struct {
		name     string
		most, is uint64
	}{{"trials", budget.GetTrials(), trials}, {"epochs", budget.GetEpochs(), epochs}} {
		if its.most > 0 && its.is > its.most {
			return Refuse("budget.lengthened", fmt.Sprintf("with these max_epochs, the runs that the study has would have "+
				"%s %s, and the budget allows %s: raise it too, with --budget %[2]s=%[4]d or more", grouped(its.is), its.name,
				grouped(its.most), its.is), "budget", its.name)
		}
	}
	return nil
}

// checkRaised refuses a budget that allows less than the one before.
func (b *builder) checkRaised(raised, has *trellisv1.Budget) {
	check := func(name string, lower bool, before string) {
		switch {
		case lower && before == "":
			b.refuse("budget.lower",
				fmt.Sprintf("the budget does not limit %s so far, and it can only be raised", name), "budget", name)
		case lower:
			b.refuse("budget.lower", fmt.Sprintf("the budget is %s already, and it can only be raised", before),
				"budget", name)
		}
	}
	number := func(name string, n, m uint64) {
		before := ""
		if m > 0 {
			before = grouped(m) + " " + name
		}
		check(name, n > 0 && n < m || n > 0 && m == 0, before)
	}
	number("trials", raised.GetTrials(), has.GetTrials())
	number("epochs", raised.GetEpochs(), has.GetEpochs())
	before := ""
	if has.GetTime() != nil {
		before = has.GetTime().AsDuration().String()
	}
	lower := raised.GetTime() != nil &&
		(has.GetTime() == nil || raised.GetTime().AsDuration() < has.GetTime().AsDuration())
	check("time", lower, before)
}
