package search

import (
	"context"
	"errors"
	"fmt"

	"trellis/command/exit"
	"trellis/command/node"
	"trellis/command/spec"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/lattice"
)

// assumedLatentDim is measured with where a spec leaves the latent dimension to its pretrained weights. Nobody here
// knows theirs, and the speed hardly depends on it.
const assumedLatentDim = 16

// preview is a valid spec as far as it is known before its study is created: with the defaults, and a latent dimension.
func preview(wanted *trellisv1.StudySpec) *trellisv1.StudySpec {
	return grid.WithLatentDim(spec.Models().WithDefaults(wanted), assumedLatentDim)
}

// estimateHere counts the epochs of a study, of which there is a preview, and measures on this machine how long one
// takes. What it says of times is a bound: the most that it takes if no run stops early, on so many slots.
func estimateHere(
	ctx context.Context, complete *trellisv1.StudySpec, data *node.DataOptions, slots int, probe prober,
) (*trellisv1.PlanStudyResponse, error) {
	leftOut, err := grid.LeftOut(ctx, complete)
	if err != nil {
		return nil, err
	}
	its, err := lattice.Of(complete)
	if err != nil {
		return nil, fmt.Errorf("count the study's trials: %w", err)
	}
	response := &trellisv1.PlanStudyResponse{
		Trials: its.Trials(), Runs: uint64(its.Runs()), Epochs: its.Epochs(), EpochsAlone: its.EpochsAlone(), LeftOut: leftOut,
	}
	whole := float64(its.Epochs())
	response.Forecast = &trellisv1.Forecast{
		Epochs: &trellisv1.Estimate{Expected: whole, Low: whole, High: whole}, Slots: uint32(slots),
	}
	if complete.GetProgram() != nil {
		return response, nil
	}
	pace, basis, err := probe.pace(ctx, complete, its, imageSource{data: data, sizes: response}, slots)
	if err != nil || basis == nil {
		return response, err
	}
	response.Forecast = bound(response.Runs, its.Epochs(), uint64(its.Longest()), pace, slots, basis)
	return response, nil
}

// bound is a forecast without an interval, and thus without a confidence: the most that so many epochs take at a
// pace, in seconds per epoch. A slot that becomes free gets the next run, so all slots are busy until the last run
// begins: R. L. Graham, Bounds on Multiprocessing Timing Anomalies, 1969, theorem 1. Nor does it take more than as
// many of the longest run, one after the other, as a slot gets runs.
func bound(runs, epochs, longest uint64, pace float64, slots int, basis *trellisv1.ForecastBasis) *trellisv1.Forecast {
	seconds := func(slots int) float64 {
		graham := (float64(epochs) + float64(longest)*float64(slots-1)) / float64(slots)
		rounds := (runs + uint64(slots) - 1) / uint64(slots)
		return min(graham, float64(rounds*longest)) * pace
	}
	certain := func(value float64) *trellisv1.Estimate {
		return &trellisv1.Estimate{Expected: value, Low: value, High: value}
	}
	f := &trellisv1.Forecast{
		Epochs: certain(float64(epochs)), Seconds: certain(seconds(slots)), Slots: uint32(slots), SecondsPerEpoch: pace,
		Basis: basis,
	}
	for more := 2 * slots; more <= 8*slots && seconds(more) < seconds(more/2); more *= 2 {
		f.Alternatives = append(f.Alternatives, &trellisv1.Forecast_Alternative{
			Slots:   uint32(more),
			Seconds: seconds(more),
		})
	}
	return f
}

// imageSource says where to find out which images an epoch takes: in a data set on this machine or, without data, in
// the coordinator's plan, which has what networks are given and has given the spec its split.
type imageSource struct {
	data  *node.DataOptions
	input *trellisv1.ModelInput
	// sizes, if set, says how large the networks are, or is told if the data set is at hand.
	sizes *trellisv1.PlanStudyResponse
}

// errNotHere means that nobody here knows the images of a data set.
var errNotHere = errors.New("the data set is not on this machine")

// find returns how many images an epoch takes, and what the network is given. It needs the data set only if the spec
// does not say how many, but checks it, as the coordinator does, wherever it is at hand. Where it is not, it returns
// the split with errNotHere.
func (s imageSource) find(
	ctx context.Context, wanted *trellisv1.StudySpec,
) (*trellisv1.Split, *trellisv1.ModelInput, error) {
	if s.data == nil {
		return wanted.GetSplit(), s.input, nil
	}
	dataSet, err := node.FindDataSet(ctx, s.data, wanted.GetData())
	switch split := wanted.GetSplit(); {
	case errors.Is(err, exit.ErrUsage):
		return nil, nil, err
	case err != nil && split != nil:
		return split, nil, errNotHere
	case err != nil:
		return nil, nil, fmt.Errorf("cannot find out how many images an epoch has, because the spec has no split: %w", err)
	}
	split, err := spec.Models().ResolveSplit(wanted, dataSet)
	if err != nil {
		return nil, nil, exit.Usagef("%w", err)
	}
	smallest, largest, err := spec.Models().Sizes(ctx, node.Size, wanted, dataSet)
	if err != nil {
		return nil, nil, exit.Usagef("%w", err)
	}
	if s.sizes != nil {
		s.sizes.Smallest, s.sizes.Largest = smallest, largest
	}
	return split, grid.InputOf(wanted, dataSet), nil
}
