package grid

import (
	"cmp"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// What a spec that does not say otherwise means.
const (
	DefaultSeed        = 1
	DefaultBatchSize   = 256
	DefaultWeightDecay = 0

	DefaultAshaMinEpochs       = 10
	DefaultAshaReductionFactor = 2
	DefaultMedianMinEpochs     = 10
	DefaultMedianInterval      = 10
	DefaultMedianMinRuns       = 5
)

// synthetic is the model that trains on no data.
const synthetic = "synthetic"

// WithDefaults returns a copy of the spec with the axes that it leaves out: seeds, batch sizes and weight decays, and with the
// numbers that its pruning leaves out. What the model fills in is not among them: see Models.WithDefaults. The split depends on
// the data set: see ResolveSplit.
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
	if asha := spec.GetPruning().GetAsha(); asha != nil {
		asha.MinEpochs = cmp.Or(asha.MinEpochs, DefaultAshaMinEpochs)
		asha.ReductionFactor = cmp.Or(asha.ReductionFactor, DefaultAshaReductionFactor)
	}
	if median := spec.GetPruning().GetMedian(); median != nil {
		median.MinEpochs = cmp.Or(median.MinEpochs, DefaultMedianMinEpochs)
		median.Interval = cmp.Or(median.Interval, DefaultMedianInterval)
		median.MinRuns = cmp.Or(median.MinRuns, DefaultMedianMinRuns)
	}
	return spec
}
