package grid

import (
	"maps"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
)

// OwnAxes are the names of the axes that only the spec's model has, ascending. All trials of a study have a value on
// each.
func OwnAxes(spec *trellisv1.StudySpec) []string {
	names := map[string]struct{}{}
	for _, grid := range spec.GetGrid() {
		for name := range grid.GetAxes() {
			names[name] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// Seeds are those of a spec that New accepts, ascending. A spec without seeds has one.
func Seeds(spec *trellisv1.StudySpec) []uint32 {
	if spec.GetSeeds() == nil {
		return []uint32{DefaultSeed}
	}
	return slices.Sorted(slices.Values((&builder{}).integers(spec.GetSeeds()).values))
}

// Repetitions is how often a spec has every point of its grids: once with every batch size and seed.
func Repetitions(spec *trellisv1.StudySpec) uint64 {
	return max(1, valueCount(spec.GetBatchSize())) * max(1, valueCount(spec.GetSeeds()))
}

// RangeOf says how the first grid of a spec that has a range on an axis spaces it: evenly, or by ratios if logarithmic.
// There is none if every grid has a list there.
func RangeOf(spec *trellisv1.StudySpec, axis string) (logarithmic, ranged bool) {
	for _, grid := range spec.GetGrid() {
		if r, _, logarithmic := rangeOf(axisNamed(grid, axis)); r != nil {
			return logarithmic, true
		}
	}
	return false, false
}

// axisNamed is the axis of that name in a grid. One that the grid leaves out has neither a range nor values.
func axisNamed(grid *trellisv1.Grid, name string) protoAxis {
	switch name {
	case latentDim:
		return grid.GetLatentDim()
	case learningRate:
		return grid.GetLearningRate()
	case weightDecay:
		return grid.GetWeightDecay()
	case maxEpochs:
		return grid.GetMaxEpochs()
	}
	return grid.GetAxes()[name]
}
