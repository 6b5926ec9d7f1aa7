package grid

import (
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/pruning"
)

// What a spec that does not say otherwise means.
const (
	DefaultSeed        = 1
	DefaultBatchSize   = 256
	DefaultWeightDecay = 0
)

// synthetic is the model that trains on no data.
const synthetic = "synthetic"

// WithDefaults returns a copy of the spec with the axes that it leaves out: seeds, batch sizes and weight decays, and
// with the numbers that its pruning leaves out. What the model fills in is not among them: see Models.WithDefaults. The
// split depends on the data set: see ResolveSplit.
func WithDefaults(spec *trellisv1.StudySpec) *trellisv1.StudySpec {
	spec = proto.CloneOf(spec)
	if spec.GetSeeds() == nil {
		spec.Seeds = &trellisv1.IntegerAxis{Values: []uint32{DefaultSeed}}
	}
	if spec.GetBatchSize() == nil {
		spec.BatchSize = &trellisv1.IntegerAxis{Values: []uint32{DefaultBatchSize}}
	}
	for _, grid := range spec.GetGrid() {
		if grid.GetWeightDecay() == nil {
			grid.WeightDecay = &trellisv1.NumberAxis{Values: []float64{DefaultWeightDecay}}
		}
	}
	spec.Pruning = pruning.WithDefaults(spec.GetPruning())
	return spec
}
