package grid

import (
	"maps"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
)

// OwnAxes are the names of the axes that only the spec's model has, ascending. All trials of a study have a value on each.
func OwnAxes(spec *trellisv1.StudySpec) []string {
	names := map[string]struct{}{}
	for _, grid := range spec.GetGrid() {
		for name := range grid.GetAxes() {
			names[name] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(names))
}
