package grid

import (
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/pruning"
)

// synthetic is the model that needs no data.
const synthetic = "synthetic"

// WithDefaults returns a copy of the spec with the axes that it leaves out, such as seeds, batch sizes and weight
// decays, and with the numbers that its pruning leaves out. What the model fills in is not among them: see
// Models.WithDefaults. The split depends on the data set: see ResolveSplit.
func WithDefaults(spec *trellisv1.StudySpec) *trellisv1.StudySpec {
	spec = proto.CloneOf(spec)
	for _, axis := range CommonAxes {
		if axis.Default != nil {
			axis.fill(spec, axis.GetDefault())
		}
	}
	spec.Pruning = pruning.WithDefaults(spec.GetPruning())
	return spec
}

// Defaults is a point with the values that a spec has where it leaves axes out, and none on those that it may not.
func Defaults() *trellisv1.Parameters {
	p := new(trellisv1.Parameters)
	for _, axis := range CommonAxes {
		axis.Set(p, axis.GetDefault())
	}
	return p
}

// WithPoint returns a copy of the spec with the values of a point on the axes that it leaves out, but for the seed.
func WithPoint(spec *trellisv1.StudySpec, point *trellisv1.Parameters) *trellisv1.StudySpec {
	spec = proto.CloneOf(spec)
	for _, axis := range CommonAxes[:Seed] {
		axis.fill(spec, axis.Value(point))
	}
	return spec
}

// fill sets the axis to one value wherever a spec leaves it out.
func (a *CommonAxis) fill(spec *trellisv1.StudySpec, value float64) {
	for _, holder := range a.holders(spec) {
		if !isSet(a.Of(holder)) {
			a.Put(holder, a.With(value))
		}
	}
}

// holders are the messages of a spec that have the axis: its grids, or itself.
func (a *CommonAxis) holders(spec *trellisv1.StudySpec) []proto.Message {
	if !a.InGrid() {
		return []proto.Message{spec}
	}
	holders := make([]proto.Message, len(spec.GetGrid()))
	for i, grid := range spec.GetGrid() {
		holders[i] = grid
	}
	return holders
}
