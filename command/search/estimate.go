package search

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"trellis/command/exit"
	"trellis/command/node"
	"trellis/command/spec"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/lattice"
	"trellis/trainer"
	"trellis/worker"
)

const (
	// probeTime is how long the speed of training is measured.
	probeTime = time.Second
	// probeImages is how many images an epoch of the measurement trains on at most.
	probeImages = 2048
	// probeOperations is how many floating point operations an epoch takes on them, which is a second or two on a core,
	// unless it has no more images than a network does at once.
	probeOperations = 64_000_000_000
	probeTile       = 16
	// probeMemory is what networks take of which only one is measured at a time, in bytes.
	probeMemory = 512 << 20
	// probePixels is how many pixels its images have at most, with those of validation. Time and memory follow them: so
	// many take about a second.
	probePixels = 16 << 20
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
	ctx context.Context, complete *trellisv1.StudySpec, data *node.DataOptions, slots int,
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
	if complete.GetProgram() != nil {
		whole := float64(its.Epochs())
		response.Forecast = &trellisv1.Forecast{
			Epochs: &trellisv1.Estimate{Expected: whole, Low: whole, High: whole}, Slots: uint32(slots),
		}
		return response, nil
	}
	pace, basis, err := measurePace(ctx, complete, its, imageSource{data: data, sizes: response}, slots)
	if err != nil {
		return nil, err
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

// measurePace returns how many seconds an epoch takes here at most, with so many runs side by side, and how that was
// found: from a point in the middle of the grid, and from how many operations the largest network has.
func measurePace(
	ctx context.Context, spec *trellisv1.StudySpec, its *lattice.Lattice, from imageSource, slots int,
) (pace float64, basis *trellisv1.ForecastBasis, err error) {
	if spec.GetModel() == trainer.Synthetic {
		return spec.GetSynthetic().GetEpochTime().AsDuration().Seconds(), &trellisv1.ForecastBasis{EpochTime: true}, nil
	}
	middle, ok := its.From(its.Indices() / 2)
	if !ok {
		middle, _ = its.From(0) // The condition leaves out the second half, or it is beyond the budget.
	}
	return measure(ctx, spec, its.At(middle), from, slots)
}

// measure trains one point of the grid on random images, on as many cores at once as the study would keep busy here. It
// returns the seconds that an epoch takes, and how it found them.
func measure(
	ctx context.Context, spec *trellisv1.StudySpec, point *trellisv1.Parameters, from imageSource, slots int,
) (pace float64, basis *trellisv1.ForecastBasis, err error) {
	split, input, err := from.find(ctx, spec)
	assumed := errors.Is(err, errNotHere)
	if err != nil && !assumed {
		return 0, nil, err
	}
	size, err := node.Size(spec.GetModel(), input, point)
	if err != nil {
		return 0, nil, fmt.Errorf("measure the speed of training: %w", err)
	}
	images, validation := probeSize(split, input, size)
	config := worker.TrainerConfig(&trellisv1.RunConfig{Model: spec.GetModel(), Parameters: point, Input: input})
	config.Data = trainer.RandomImages(config, images, validation)
	cores := min(slots, runtime.GOMAXPROCS(0))
	if size.Memory > probeMemory {
		cores = 1
	}
	epochs, start := make([]time.Duration, cores), time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for core := range cores {
		group.Go(func() (err error) {
			epochs[core], err = trainer.Probe(ctx, config, probeTime)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return 0, nil, fmt.Errorf("measure the speed of training: %w", err)
	}
	took := probeTime
	if elapsed := time.Since(start).Round(time.Second); elapsed > 2*probeTime {
		took = elapsed // Two epochs of a large network take longer.
	}
	for _, epoch := range epochs {
		pace += epoch.Seconds() / float64(cores) * float64(split.GetTrain()) / float64(images)
	}
	if size.Train > 0 {
		operations := float64(size.Train)*float64(split.GetTrain()) + float64(size.Evaluate)*float64(split.GetValidation())
		pace *= max(1, from.sizes.GetLargest().GetOperations()/operations)
	}
	return pace, &trellisv1.ForecastBasis{Probe: &trellisv1.ForecastBasis_Probe{
		Trainings: uint32(cores), Seconds: took.Seconds(), LatentDim: uint32(config.LatentDim), BatchSize: uint32(config.BatchSize),
		TrainImages: split.GetTrain(), ValidationImages: split.GetValidation(),
		InputAssumed: assumed,
	}}, nil
}

// probeSize is how many training and validation images to measure with: as many as an epoch has, or fewer in the same
// ratio.
func probeSize(split *trellisv1.Split, input *trellisv1.ModelInput, size grid.Size) (train, validation int) {
	pixels := uint64(28 * 28)
	if input != nil {
		pixels = uint64(input.GetHeight()) * uint64(input.GetWidth())
	}
	all, most := uint64(split.GetTrain())+uint64(split.GetValidation()), probePixels/pixels
	affordable := max(probeTile, probeOperations/max(1, size.Train))
	images := max(1, min(probeImages, affordable, uint64(split.GetTrain()), most*uint64(split.GetTrain())/all))
	others := min(most, images*uint64(split.GetValidation())/uint64(split.GetTrain()))
	return int(images), int(max(1, others))
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
