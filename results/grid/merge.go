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

// Merge returns the spec with the values of a request added to its axes, in every grid. New values come after an axis's
// existing ones, in the order of the request. Existing values keep their places. An axis that gets new values becomes a
// list; other axes stay as they were written. Everything else in the spec stays.
//
// Like Validate, it returns a *protovalidate.ValidationError if something is wrong. The error names fields of the
// request if its values are invalid, and fields of the merged spec if there would be too many values. A larger grid
// does not take longer.
//
// Of the axes that only the model has, only those in the spec can be extended: the study's trials have no value on an
// axis that was added to the model since.
func (models Models) Merge(spec *trellisv1.StudySpec, request *trellisv1.ExtendStudyRequest) (*trellisv1.StudySpec, error) {
	if err := models.validateValues(spec, request); err != nil {
		return nil, err
	}
	merged := WithDefaults(spec)
	for _, axis := range CommonAxes {
		more := axis.Of(request)
		if !isSet(more) {
			continue
		}
		for _, holder := range axis.holders(merged) {
			axis.Put(holder, extended(axis.Of(holder), more))
		}
	}
	for _, grid := range merged.Grid {
		for name, more := range request.GetAxes() {
			grid.Axes[name] = extended(grid.Axes[name], more).(*trellisv1.NumberAxis)
		}
	}
	if err := models.Validate(merged); err != nil {
		return nil, err
	}
	return merged, nil
}

// validateValues says what is wrong with the values of a request, whatever spec they are added to: it checks them as a
// spec of their own. Axes that the request leaves out have a single value there.
func (models Models) validateValues(spec *trellisv1.StudySpec, request *trellisv1.ExtendStudyRequest) error {
	axes := maps.Clone(request.GetAxes())
	for name, axis := range spec.GetGrid()[0].GetAxes() {
		if axes == nil {
			axes = map[string]*trellisv1.NumberAxis{}
		}
		if axes[name] == nil {
			axes[name] = &trellisv1.NumberAxis{Values: (&builder{}).values(axis).values[:1]}
		}
	}
	grid := &trellisv1.Grid{Axes: axes}
	alone := &trellisv1.StudySpec{
		Name: spec.GetName(), Data: spec.GetData(), Model: spec.GetModel(), Pretrained: spec.GetPretrained(),
		Grid: []*trellisv1.Grid{grid},
	}
	for _, axis := range CommonAxes {
		its := axis.Of(request)
		if !isSet(its) && axis.Default == nil {
			its = axis.With(1) // Any value that is valid.
		}
		if isSet(its) {
			axis.Put(axis.holders(alone)[0], its)
		}
	}
	err := models.Validate(alone)
	if err == nil {
		err = hasAxes(spec, request)
	}
	if invalid, ok := errors.AsType[*protovalidate.ValidationError](err); ok {
		for _, violation := range invalid.Violations {
			nameAsRequested(violation)
		}
	}
	return err
}

// hasAxes refuses values on axes that the spec's grids do not have.
func hasAxes(spec *trellisv1.StudySpec, request *trellisv1.ExtendStudyRequest) error {
	b := builder{}
	for _, name := range slices.Sorted(maps.Keys(request.GetAxes())) {
		for _, grid := range spec.GetGrid() {
			if grid.GetAxes()[name] == nil {
				b.refuse("axis.absent", fmt.Sprintf("the study's trials have no %s, to which values could be added: submit a new "+
					"study", name), "grid", 0, "axes", mapKey(name))
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

// extended returns the axis with the values of another, of the same kind, that it does not have. Both are valid.
func extended(a, more ProtoAxis) ProtoAxis {
	if !isSet(more) {
		return a
	}
	has := axis{}
	if isSet(a) {
		has = (&builder{}).values(a)
	}
	var added []float64
	for _, value := range (&builder{}).values(more).values {
		if _, there := has.position(value); !there {
			added = append(added, value)
		}
	}
	if len(added) == 0 {
		return a
	}
	all := slices.Concat(has.values, added)
	if _, whole := more.(*trellisv1.IntegerAxis); whole {
		return &trellisv1.IntegerAxis{Values: wholeNumbers(all)}
	}
	return &trellisv1.NumberAxis{Values: all}
}

// Extends says whether Merge could have made the spec all from some: every axis has all values of the other, in every
// grid, and nothing else differs.
func Extends(all, some *trellisv1.StudySpec) bool {
	all, some = WithDefaults(all), WithDefaults(some)
	if len(all.Grid) != len(some.Grid) {
		return false
	}
	for _, axis := range CommonAxes {
		holders := axis.holders(all)
		for i, holder := range axis.holders(some) {
			if !hasAll(axis.Of(holders[i]), axis.Of(holder)) {
				return false
			}
		}
	}
	for i, grid := range some.Grid {
		if len(all.Grid[i].Axes) != len(grid.Axes) {
			return false
		}
		for name, axis := range grid.Axes {
			if more, ok := all.Grid[i].Axes[name]; !ok || !hasAll(more, axis) {
				return false
			}
		}
	}
	for _, spec := range []*trellisv1.StudySpec{all, some} {
		for _, axis := range CommonAxes {
			if !axis.InGrid() {
				spec.ProtoReflect().Clear(fieldOf(spec, axis.Field()))
			}
		}
		spec.Grid = nil
	}
	return proto.Equal(all, some)
}

// hasAll says whether an axis has all values of another.
func hasAll(all, some ProtoAxis) bool { return extended(all, some) == all }
