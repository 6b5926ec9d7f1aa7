package grid

import (
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/pruning"
)

// synthetic is the model that trains on no data.
const synthetic = "synthetic"

// WithDefaults returns a copy of the spec with the axes that it leaves out, such as seeds, batch sizes and weight
// decays, and with the numbers that its pruning leaves out. What the model fills in is not among them: see
// Models.WithDefaults. The split depends on the data set: see ResolveSplit.
func WithDefaults(spec *trellisv1.StudySpec) *trellisv1.StudySpec {
	spec = proto.CloneOf(spec)
	for _, axis := range CommonAxes {
		if axis.Default == nil {
			continue
		}
		for _, holder := range axis.holders(spec) {
			if !isSet(axis.Of(holder)) {
				axis.Put(holder, axis.With(axis.GetDefault()))
			}
		}
	}
	spec.Pruning = pruning.WithDefaults(spec.GetPruning())
	return spec
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
