package grid

import (
	"slices"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// Expand returns the study's trials and runs, all PENDING, in the order of their indices. Trials that differ in
// max_epochs alone share one run, whose milestones are their max_epochs.
//
// dataSet is what spec.data names, and nil for the model "synthetic"; numerics is the version of the trainer's
// arithmetic. The same arguments give the same trials and runs, on every machine. Errors are those of New and
// ResolveSplit.
func Expand(
	spec *trellisv1.StudySpec, dataSet *trellisv1.DataSet, numerics string,
) ([]*trellisv1.Trial, []*trellisv1.Run, error) {
	g, err := New(spec)
	if err != nil {
		return nil, nil, err
	}
	if _, err := ResolveSplit(spec, dataSet); err != nil {
		return nil, nil, err
	}
	config := commonConfig(spec, dataSet, numerics)
	trials := make([]*trellisv1.Trial, 0, g.Size())
	var runs []*trellisv1.Run
	byTrajectory := map[trajectory]*trellisv1.Run{}
	for index, parameters := range g.All() {
		run, ok := byTrajectory[trajectoryOf(parameters)]
		if !ok {
			config.Parameters = parameters
			run = &trellisv1.Run{
				Study:      spec.GetName(),
				Id:         RunID(config),
				Parameters: proto.CloneOf(parameters),
				State:      trellisv1.RunState_RUN_STATE_PENDING,
				FirstTrial: index,
			}
			byTrajectory[trajectoryOf(parameters)] = run
			runs = append(runs, run)
		}
		run.Milestones = append(run.Milestones, parameters.GetMaxEpochs())
		trials = append(trials, &trellisv1.Trial{
			Study:      spec.GetName(),
			Index:      index,
			Parameters: parameters,
			Run:        run.GetId(),
			State:      trellisv1.TrialState_TRIAL_STATE_PENDING,
		})
	}
	for _, run := range runs {
		slices.Sort(run.Milestones)
		run.Parameters.MaxEpochs = run.Milestones[len(run.Milestones)-1]
	}
	return trials, runs, nil
}

// trajectory is what tells the runs of a study apart: parameters without max_epochs.
type trajectory struct {
	latentDim, seed, batchSize uint32
	learningRate, weightDecay  float64
}

func trajectoryOf(p *trellisv1.Parameters) trajectory {
	return trajectory{
		latentDim:    p.GetLatentDim(),
		learningRate: p.GetLearningRate(),
		weightDecay:  p.GetWeightDecay(),
		seed:         p.GetSeed(),
		batchSize:    p.GetBatchSize(),
	}
}

// Summary is what a study would cost at most.
type Summary struct {
	// Trials are the distinct points of the grid, and Runs what answers them.
	Trials, Runs uint64
	// Epochs are those of all runs, if none of them stops early.
	Epochs uint64
	// EpochsAlone is what it would take if every trial were trained by itself.
	EpochsAlone uint64
}

// Summarize counts a study's trials, runs and epochs without creating them. Errors are those of New.
func Summarize(spec *trellisv1.StudySpec) (Summary, error) {
	g, err := New(spec)
	if err != nil {
		return Summary{}, err
	}
	var s Summary
	longest := map[trajectory]uint32{}
	for _, parameters := range g.All() {
		s.Trials++
		s.EpochsAlone += uint64(parameters.GetMaxEpochs())
		t := trajectoryOf(parameters)
		longest[t] = max(longest[t], parameters.GetMaxEpochs())
	}
	s.Runs = uint64(len(longest))
	for _, epochs := range longest {
		s.Epochs += uint64(epochs)
	}
	return s, nil
}
