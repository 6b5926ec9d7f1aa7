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

// Merge returns the spec with the values of a request added to its axes, in every grid: behind those that an axis has,
// in the order of the request. Values that it has already stay where they are. An axis that gets new values is a list
// afterwards, one that does not stays as it was written. All else in the spec stays.
//
// What is wrong comes as a *protovalidate.ValidationError, as from Validate: with the request's fields where its values
// are not valid by themselves, and with the merged spec's where there would be too many of them. It takes no longer for
// a larger grid.
//
// Axes that only the model has are those that the spec has already: one that the model has got since has no value in
// the study's trials, to which others could be added.
func (models Models) Merge(spec *trellisv1.StudySpec, request *trellisv1.ExtendStudyRequest) (*trellisv1.StudySpec, error) {
	if err := models.validateValues(spec, request); err != nil {
		return nil, err
	}
	merged := WithDefaults(spec)
	merged.Seeds = withIntegers(merged.Seeds, request.GetSeeds())
	merged.BatchSize = withIntegers(merged.BatchSize, request.GetBatchSize())
	for _, grid := range merged.Grid {
		grid.LatentDim = withIntegers(grid.LatentDim, request.GetLatentDim())
		grid.LearningRate = withNumbers(grid.LearningRate, request.GetLearningRate())
		grid.WeightDecay = withNumbers(grid.WeightDecay, request.GetWeightDecay())
		grid.MaxEpochs = withIntegers(grid.MaxEpochs, request.GetMaxEpochs())
		for name, more := range request.GetAxes() {
			grid.Axes[name] = withNumbers(grid.Axes[name], more)
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
	orOne := func(axis *trellisv1.IntegerAxis) *trellisv1.IntegerAxis {
		if axis == nil {
			return &trellisv1.IntegerAxis{Values: []uint32{1}}
		}
		return axis
	}
	learningRate := request.GetLearningRate()
	if learningRate == nil {
		learningRate = &trellisv1.NumberAxis{Values: []float64{1}}
	}
	axes := maps.Clone(request.GetAxes())
	for name, axis := range spec.GetGrid()[0].GetAxes() {
		if axes == nil {
			axes = map[string]*trellisv1.NumberAxis{}
		}
		if axes[name] == nil {
			axes[name] = &trellisv1.NumberAxis{Values: (&builder{}).numbers(axis).values[:1]}
		}
	}
	err := models.Validate(&trellisv1.StudySpec{
		Name: spec.GetName(), Data: spec.GetData(), Model: spec.GetModel(), Pretrained: spec.GetPretrained(),
		Grid: []*trellisv1.Grid{{
			LatentDim: orOne(request.GetLatentDim()), LearningRate: learningRate, WeightDecay: request.GetWeightDecay(),
			MaxEpochs: orOne(request.GetMaxEpochs()), Axes: axes,
		}},
		Seeds: request.GetSeeds(), BatchSize: request.GetBatchSize(),
	})
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

// withIntegers returns the axis with the values of another that it does not have. Both are valid.
func withIntegers(axis, more *trellisv1.IntegerAxis) *trellisv1.IntegerAxis {
	values := union((&builder{}).integers(axis), more, (*builder).integers)
	if values == nil {
		return axis
	}
	return &trellisv1.IntegerAxis{Values: values}
}

// withNumbers is withIntegers for real numbers.
func withNumbers(axis, more *trellisv1.NumberAxis) *trellisv1.NumberAxis {
	values := union((&builder{}).numbers(axis), more, (*builder).numbers)
	if values == nil {
		return axis
	}
	return &trellisv1.NumberAxis{Values: values}
}

// union returns the values of an axis and those of more that it does not have, nil if there are none.
func union[V uint32 | float64, Axis interface {
	comparable
	protoAxis
}](has axis[V], more Axis, read func(*builder, Axis, ...any) axis[V]) []V {
	var none Axis
	if more == none {
		return nil
	}
	var added []V
	for _, value := range read(&builder{}, more).values {
		if _, there := has.positions[value]; !there {
			added = append(added, value)
		}
	}
	if len(added) == 0 {
		return nil
	}
	return append(has.values[:len(has.values):len(has.values)], added...)
}

// Extends says whether a spec is what Merge may make of another: every axis has all of its values, in every grid, and
// nothing else differs.
func Extends(extended, spec *trellisv1.StudySpec) bool {
	extended, spec = WithDefaults(extended), WithDefaults(spec)
	if len(extended.Grid) != len(spec.Grid) || !hasIntegers(extended.Seeds, spec.Seeds) ||
		!hasIntegers(extended.BatchSize, spec.BatchSize) {
		return false
	}
	for i, grid := range spec.Grid {
		all := extended.Grid[i]
		if !hasIntegers(all.LatentDim, grid.LatentDim) || !hasIntegers(all.MaxEpochs, grid.MaxEpochs) ||
			!hasNumbers(all.LearningRate, grid.LearningRate) || !hasNumbers(all.WeightDecay, grid.WeightDecay) ||
			len(all.Axes) != len(grid.Axes) {
			return false
		}
		for name, axis := range grid.Axes {
			if more, ok := all.Axes[name]; !ok || !hasNumbers(more, axis) {
				return false
			}
		}
	}
	for _, spec := range []*trellisv1.StudySpec{extended, spec} {
		spec.Grid, spec.Seeds, spec.BatchSize = nil, nil, nil
	}
	return proto.Equal(extended, spec)
}

func hasIntegers(all, some *trellisv1.IntegerAxis) bool { return withIntegers(all, some) == all }

func hasNumbers(all, some *trellisv1.NumberAxis) bool { return withNumbers(all, some) == all }
