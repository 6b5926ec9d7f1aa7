package node

import (
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/worker"
)

var _ grid.Sizer = Size

// Size is how large the network of a model is with a point's values.
func Size(model string, input *trellisv1.ModelInput, point *trellisv1.Parameters) (grid.Size, error) {
	config := worker.TrainerConfig(&trellisv1.RunConfig{Model: model, Input: input, Parameters: point})
	size, err := config.Size()
	return grid.Size{
		Weights: uint64(size.Weights), Memory: uint64(size.Memory), CoreMemory: uint64(size.CoreMemory),
		Train: uint64(size.Train), Evaluate: uint64(size.Evaluate),
		TrainSaved: uint64(size.TrainSaved), EvaluateSaved: uint64(size.EvaluateSaved),
		Kept: func(train, others uint64) uint64 { return uint64(size.Kept(int(train), int(others))) },
	}, err
}
