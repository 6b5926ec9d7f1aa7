package grid

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// Difference returns what takes a spec back to what it was before an extension: see Before. An extension of a large
// spec by one value has a difference of a few bytes.
func Difference(before, after *trellisv1.StudySpec) *trellisv1.SpecDifference {
	difference := &trellisv1.SpecDifference{}
	if len(before.GetGrid()) == len(after.GetGrid()) {
		for _, position := range positionsOf(before, after) {
			if axis := position.difference(before, after); axis != nil {
				difference.Axes = append(difference.Axes, axis)
			}
		}
		if !proto.Equal(before.GetBudget(), after.GetBudget()) {
			difference.Budget = proto.CloneOf(before.GetBudget())
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
	if difference.GetBudget() != nil {
		before.Budget = proto.CloneOf(difference.GetBudget())
	}
	for _, axis := range difference.GetAxes() {
		its := position{grid: axis.GetGrid(), axis: axis.GetAxis()}
		if axis.GetWhole() != nil {
			its.put(before, proto.CloneOf(axis.GetWhole()))
		} else {
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

// position is where a spec has an axis: in a grid, or for "seeds" outside of all grids.
type position struct {
	grid uint32
	axis string
}

// positionsOf returns where at least one of two specs with equally many grids can have an axis, in a fixed order.
func positionsOf(a, b *trellisv1.StudySpec) []position {
	positions := []position{{axis: Seeds}}
	for i, grid := range a.GetGrid() {
		names := map[string]struct{}{}
		for _, axes := range []map[string]*trellisv1.Axis{grid.GetAxes(), b.GetGrid()[i].GetAxes()} {
			for name := range axes {
				names[name] = struct{}{}
			}
		}
		for _, name := range slices.SortedFunc(maps.Keys(names), CompareNames) {
			positions = append(positions, position{uint32(i), name})
		}
	}
	return positions
}

// of returns the spec's axis, or nil if it is not there.
func (p position) of(spec *trellisv1.StudySpec) *trellisv1.Axis {
	if p.axis == Seeds {
		return spec.GetSeeds()
	}
	if int(p.grid) >= len(spec.GetGrid()) {
		return nil
	}
	return spec.GetGrid()[p.grid].GetAxes()[p.axis]
}

// put sets the spec's axis.
func (p position) put(spec *trellisv1.StudySpec, axis *trellisv1.Axis) {
	if p.axis == Seeds {
		spec.Seeds = axis
	} else if int(p.grid) < len(spec.GetGrid()) && spec.Grid[p.grid] != nil {
		put(spec.Grid[p.grid], p.axis, axis)
	}
}

// shorten leaves the spec's axis its first values, or removes the axis if these are none.
func (p position) shorten(spec *trellisv1.StudySpec, count int) {
	axis := p.of(spec)
	switch {
	case axis == nil:
	case count > 0:
		p.put(spec, trellisv1.ListOf(axis.GetValues()[:min(count, axis.Listed())]...))
	case p.axis == Seeds:
		spec.Seeds = nil
	default:
		delete(spec.Grid[p.grid].Axes, p.axis)
	}
}

// difference returns how the earlier spec's axis differs from the later one's, or nil if they are the same.
func (p position) difference(before, after *trellisv1.StudySpec) *trellisv1.AxisDifference {
	was, is := p.of(before), p.of(after)
	if proto.Equal(was, is) {
		return nil
	}
	difference := &trellisv1.AxisDifference{Grid: p.grid, Axis: p.axis}
	n := was.Listed()
	switch {
	case n > 0 && n <= is.Listed() && proto.Equal(was, trellisv1.ListOf(is.GetValues()[:n]...)):
		difference.Count = uint32(n)
	case was != nil:
		difference.Whole = proto.CloneOf(was)
	}
	return difference
}
