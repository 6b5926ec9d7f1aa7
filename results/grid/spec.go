package grid

import (
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
)

// SeedsOf returns the seeds of a spec that New accepts, ascending. A spec without seeds has one seed.
func SeedsOf(spec *trellisv1.StudySpec) []uint32 {
	values := (&builder{}).values(WithDefaults(&trellisv1.StudySpec{Seeds: spec.GetSeeds()}).GetSeeds()).values
	seeds := make([]uint32, len(values))
	for i, value := range values {
		seeds[i] = uint32(numberOf(value))
	}
	slices.Sort(seeds)
	return seeds
}

// Repetitions returns how often a spec repeats every point of its grids: once for each seed.
func Repetitions(spec *trellisv1.StudySpec) uint64 { return max(1, valueCount(spec.GetSeeds())) }

// LongestOf returns the largest max_epochs of each grid of a spec that New accepts.
func LongestOf(spec *trellisv1.StudySpec) []uint32 {
	spec = WithDefaults(spec)
	longest := make([]uint32, len(spec.GetGrid()))
	for i := range longest {
		for _, its := range axesOf(spec, i) {
			if its.name != MaxEpochs {
				continue
			}
			for _, value := range (&builder{}).values(its.axis, its.path...).values {
				longest[i] = max(longest[i], uint32(numberOf(value)))
			}
		}
	}
	return longest
}

// RangeOf returns how an axis is spaced in the first grid of a spec that has a range on it: evenly, or by ratios if
// logarithmic. ranged is false if every grid has a list there.
func RangeOf(spec *trellisv1.StudySpec, axis string) (logarithmic, ranged bool) {
	for _, grid := range spec.GetGrid() {
		its := grid.GetAxes()[axis]
		if r, _, logarithmic := rangeOf(its); r != nil {
			return logarithmic, true
		}
		if its.GetStep() != nil {
			return false, true
		}
	}
	return false, false
}

// Parameter is a parameter of the points of a spec.
type Parameter struct {
	Name string
	// Kind is that of its values. Numbers may be whole among others that are not.
	Kind trellisv1.Kind
	// Values are those that the grids give it, each once, in their order.
	Values []*trellisv1.Value
}

// Parameters returns the parameters of a spec's points in the order of the digits: max_epochs among them, but not the
// seed. The spec is one that New accepts.
func Parameters(spec *trellisv1.StudySpec) []Parameter {
	b, kinds := builder{}, map[string]trellisv1.Kind{}
	values, seen := map[string][]*trellisv1.Value{}, map[string]map[ValueKey]bool{}
	for i := range spec.GetGrid() {
		for _, its := range axesOf(spec, i) {
			all := b.values(its.axis, its.path...).values
			b.agree(kinds, its, all)
			if seen[its.name] == nil {
				seen[its.name] = map[ValueKey]bool{}
			}
			for _, value := range all {
				if key := KeyOf(value); !seen[its.name][key] {
					seen[its.name][key] = true
					values[its.name] = append(values[its.name], value)
				}
			}
		}
	}
	names := Names(spec)
	parameters := make([]Parameter, len(names))
	for i, name := range names {
		parameters[i] = Parameter{name, kinds[name], values[name]}
	}
	return parameters
}

// Several says whether an axis has several values, or none that are known.
func Several(axis *trellisv1.Axis) bool { return valueCount(axis) != 1 }

// VariesIn says whether the points of a spec differ in a parameter, as far as it says.
func VariesIn(spec *trellisv1.StudySpec, name string) bool {
	var first ValueKey
	for i, grid := range spec.GetGrid() {
		axis := grid.GetAxes()[name]
		if axis != nil && Several(axis) {
			return true
		}
		value := spec.GetFixed()[name]
		if axis != nil {
			value = axis.GetValues()[0]
		}
		if i > 0 && KeyOf(value) != first {
			return true
		}
		first = KeyOf(value)
	}
	return false
}
