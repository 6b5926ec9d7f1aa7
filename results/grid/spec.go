package grid

import (
	"maps"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
)

// OwnAxes returns the names of the axes that only the spec's model has, ascending. All trials of a study have a value
// on each of them.
func OwnAxes(spec *trellisv1.StudySpec) []string {
	names := map[string]struct{}{}
	for _, grid := range spec.GetGrid() {
		for name := range grid.GetAxes() {
			names[name] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// Seeds returns the seeds of a spec that New accepts, ascending. A spec without seeds has one seed.
func Seeds(spec *trellisv1.StudySpec) []uint32 {
	axis := &CommonAxes[Seed]
	its := axis.Of(spec)
	if !isSet(its) {
		its = axis.With(axis.GetDefault())
	}
	seeds := wholeNumbers((&builder{}).values(its).values)
	slices.Sort(seeds)
	return seeds
}

// Repetitions returns how often a spec repeats every point of its grids: once for every combination of values on the
// study's axes, such as batch sizes and seeds.
func Repetitions(spec *trellisv1.StudySpec) uint64 {
	n := uint64(1)
	for _, axis := range CommonAxes {
		if !axis.InGrid() {
			n *= max(1, valueCount(axis.Of(spec)))
		}
	}
	return n
}

// RangeOf returns how an axis is spaced in the first grid of a spec that has a range on it: evenly, or by ratios if
// logarithmic. ranged is false if every grid has a list there.
func RangeOf(spec *trellisv1.StudySpec, axis string) (logarithmic, ranged bool) {
	for _, grid := range spec.GetGrid() {
		if r, _, logarithmic := rangeOf(axisNamed(grid, axis)); r != nil {
			return logarithmic, true
		}
	}
	return false, false
}

// axisNamed is the axis of that name in a grid. One that the grid leaves out has neither a range nor values.
func axisNamed(grid *trellisv1.Grid, name string) ProtoAxis {
	for _, axis := range CommonAxes {
		if axis.GetName() == name && axis.InGrid() {
			return axis.Of(grid)
		}
	}
	return grid.GetAxes()[name]
}
