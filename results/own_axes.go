package results

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
)

// ownAxes are the names of the axes that only the spec's model has, ascending. All trials of a study have a value on each.
func ownAxes(spec *trellisv1.StudySpec) []string {
	names := map[string]struct{}{}
	for _, grid := range spec.GetGrid() {
		for name := range grid.GetAxes() {
			names[name] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// ownValues are a trial's values on its study's own axes, as a part of a key: 8 bytes each, in the order of their names. It is
// empty if there are none, and takes no memory then.
type ownValues string

func ownValuesOf(p *trellisv1.Parameters, names []string) ownValues {
	if len(names) == 0 {
		return ""
	}
	var room [16 * 8]byte
	data := room[:0]
	for _, name := range names {
		data = binary.BigEndian.AppendUint64(data, math.Float64bits(p.GetValues()[name]))
	}
	return ownValues(data)
}

// at returns the value on the axis at a place among the names.
func (v ownValues) at(place int) float64 {
	bits := uint64(0)
	for _, b := range []byte(v[8*place : 8*place+8]) {
		bits = bits<<8 | uint64(b)
	}
	return math.Float64frombits(bits)
}

// values are those by name, nil if there are none.
func (v ownValues) values(names []string) map[string]float64 {
	if len(names) == 0 {
		return nil
	}
	values := make(map[string]float64, len(names))
	for place, name := range names {
		values[name] = v.at(place)
	}
	return values
}

// fieldsOn are the fields of trials of a study with these axes of its own.
func fieldsOn(own []string) []field {
	all := fields[:len(fields):len(fields)]
	for _, name := range own {
		all = append(all, number(name, func(t *trellisv1.Trial) float64 { return t.GetParameters().GetValues()[name] }))
	}
	return all
}
