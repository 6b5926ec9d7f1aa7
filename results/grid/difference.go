package grid

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	trellisv1 "trellis/proto/trellis/v1"
)

// Difference returns what takes a spec back to what it was before an extension: see Before. An extension of a large
// spec by one value has a difference of a few bytes.
func Difference(before, after *trellisv1.StudySpec) *trellisv1.SpecDifference {
	difference := &trellisv1.SpecDifference{}
	if len(before.GetGrid()) == len(after.GetGrid()) {
		for _, place := range placesOf(before, after) {
			if axis := place.difference(before, after); axis != nil {
				difference.Axes = append(difference.Axes, axis)
			}
		}
		if proto.Equal(Before(after, difference), before) {
			return difference
		}
	}
	return &trellisv1.SpecDifference{Whole: proto.CloneOf(before)}
}

// Before returns the spec from which a spec differs. It shares nothing with either argument.
func Before(after *trellisv1.StudySpec, difference *trellisv1.SpecDifference) *trellisv1.StudySpec {
	if difference.GetWhole() != nil {
		return proto.CloneOf(difference.GetWhole())
	}
	before := proto.CloneOf(after)
	for _, axis := range difference.GetAxes() {
		its := place{grid: axis.GetGrid(), axis: axis.GetAxis()}
		switch {
		case axis.GetIntegers() != nil:
			its.put(before, proto.CloneOf(axis.GetIntegers()))
		case axis.GetNumbers() != nil:
			its.put(before, proto.CloneOf(axis.GetNumbers()))
		default:
			its.shorten(before, int(axis.GetCount()))
		}
	}
	return before
}

// EarlierSpecs returns the specs that a study had before it was extended, oldest first.
func EarlierSpecs(study *trellisv1.Study) []*trellisv1.StudySpec {
	differences := study.GetSpecHistory().GetDifferences()
	earlier := make([]*trellisv1.StudySpec, len(differences))
	spec := study.GetSpec()
	for i, difference := range slices.Backward(differences) {
		spec = Before(spec, difference)
		earlier[i] = spec
	}
	return slices.Concat(study.GetEarlierSpecs(), earlier)
}

// Extensions returns how often a study's spec has been extended.
func Extensions(study *trellisv1.Study) int {
	return len(study.GetEarlierSpecs()) + len(study.GetSpecHistory().GetDifferences())
}

// place is where a spec has an axis: in a grid, or outside of all grids.
type place struct {
	grid uint32
	axis string
}

// placesOf returns where at least one of two specs with equally many grids can have an axis, in a fixed order.
func placesOf(a, b *trellisv1.StudySpec) []place {
	var places []place
	for _, axis := range CommonAxes {
		if !axis.InGrid() {
			places = append(places, place{axis: axis.Field()})
		}
	}
	for i, grid := range a.GetGrid() {
		for _, axis := range CommonAxes {
			if axis.InGrid() {
				places = append(places, place{uint32(i), axis.Field()})
			}
		}
		names := maps.Clone(grid.GetAxes())
		if names == nil {
			names = map[string]*trellisv1.NumberAxis{}
		}
		maps.Copy(names, b.GetGrid()[i].GetAxes())
		for _, name := range slices.Sorted(maps.Keys(names)) {
			places = append(places, place{uint32(i), name})
		}
	}
	return places
}

// field returns the message that has the axis as a field, and the field. The field is nil if only the model has the
// axis, and the message is nil if the spec does not have the grid.
func (p place) field(spec *trellisv1.StudySpec) (protoreflect.Message, protoreflect.FieldDescriptor) {
	message := spec.ProtoReflect()
	for _, axis := range CommonAxes {
		if axis.Field() != p.axis {
			continue
		}
		if axis.InGrid() {
			if int(p.grid) >= len(spec.GetGrid()) {
				return nil, nil
			}
			message = spec.Grid[p.grid].ProtoReflect()
		}
		return message, fieldOf(message.Interface(), p.axis)
	}
	if int(p.grid) >= len(spec.GetGrid()) {
		return nil, nil
	}
	return spec.Grid[p.grid].ProtoReflect(), nil
}

// of returns the spec's axis, or nil if it is not there.
func (p place) of(spec *trellisv1.StudySpec) ProtoAxis {
	message, field := p.field(spec)
	switch {
	case message == nil:
		return nil
	case field == nil:
		if axis := message.Interface().(*trellisv1.Grid).GetAxes()[p.axis]; axis != nil {
			return axis
		}
		return nil
	case message.Has(field):
		return message.Get(field).Message().Interface().(ProtoAxis)
	}
	return nil
}

// put sets the spec's axis.
func (p place) put(spec *trellisv1.StudySpec, axis ProtoAxis) {
	message, field := p.field(spec)
	numbers, own := axis.(*trellisv1.NumberAxis)
	switch {
	case message == nil:
	case field == nil && own:
		grid := message.Interface().(*trellisv1.Grid)
		if grid.Axes == nil {
			grid.Axes = map[string]*trellisv1.NumberAxis{}
		}
		grid.Axes[p.axis] = numbers
	case field != nil && field.Message() == axis.ProtoReflect().Descriptor():
		message.Set(field, protoreflect.ValueOfMessage(axis.ProtoReflect()))
	}
}

// shorten leaves the spec's axis its first values, or removes the axis if these are none.
func (p place) shorten(spec *trellisv1.StudySpec, count int) {
	switch axis := p.of(spec).(type) {
	case *trellisv1.IntegerAxis:
		axis.Values = axis.Values[:min(count, len(axis.Values))]
	case *trellisv1.NumberAxis:
		axis.Values = axis.Values[:min(count, len(axis.Values))]
	}
	if count > 0 {
		return
	}
	if message, field := p.field(spec); field != nil {
		message.Clear(field)
	} else if message != nil {
		delete(message.Interface().(*trellisv1.Grid).Axes, p.axis)
	}
}

// difference returns how the earlier spec's axis differs from the later one's, or nil if they are the same.
func (p place) difference(before, after *trellisv1.StudySpec) *trellisv1.AxisDifference {
	was, is := p.of(before), p.of(after)
	difference := &trellisv1.AxisDifference{Grid: p.grid, Axis: p.axis}
	switch was := was.(type) {
	case nil:
		if is == nil {
			return nil
		}
	case *trellisv1.IntegerAxis:
		is, _ := is.(*trellisv1.IntegerAxis)
		if proto.Equal(was, is) {
			return nil
		}
		if n := len(was.Values); n > 0 && n <= len(is.GetValues()) && slices.Equal(was.Values, is.GetValues()[:n]) {
			difference.Count = uint32(n)
		} else {
			difference.Integers = proto.CloneOf(was)
		}
	case *trellisv1.NumberAxis:
		is, _ := is.(*trellisv1.NumberAxis)
		if proto.Equal(was, is) {
			return nil
		}
		if n := len(was.Values); n > 0 && n <= len(is.GetValues()) && slices.Equal(was.Values, is.GetValues()[:n]) {
			difference.Count = uint32(n)
		} else {
			difference.Numbers = proto.CloneOf(was)
		}
	}
	return difference
}
