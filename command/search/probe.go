package search

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"trellis/command/node"
	"trellis/command/output"
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
	// probeTileOperations is how many a tile takes at most, if smaller images have a network too: part of a second.
	probeTileOperations = 16_000_000_000
	// probeMemory is what networks take of which only one is measured at a time, in bytes.
	probeMemory = 512 << 20
	// probePixels is how many pixels its images have at most, with those of validation. Time and memory follow them: so
	// many take about a second.
	probePixels = 16 << 20
)

// prober measures on this machine how long an epoch takes.
type prober struct {
	// notices is where it says what it does, and free is how many bytes it may take.
	notices io.Writer
	free    uint64
}

// pace returns how many seconds an epoch takes here at most, with so many runs side by side, and how that was found:
// from a point of the grid, and from how many operations the largest network has. If there is no room to measure it, it
// says so, and returns no basis.
func (p prober) pace(
	ctx context.Context, spec *trellisv1.StudySpec, its *lattice.Lattice, from imageSource, slots int,
) (pace float64, basis *trellisv1.ForecastBasis, err error) {
	if spec.GetModel() == trainer.Synthetic {
		return spec.GetSynthetic().GetEpochTime().AsDuration().Seconds(), &trellisv1.ForecastBasis{EpochTime: true}, nil
	}
	return p.measure(ctx, spec, probePoint(spec, its), from, slots)
}

// probePoint returns the point that is measured: one in the middle of the grid, but with an encoder that is trained if
// any is, and images that are moved if any are. What takes no codes takes many times as long, which its operations say
// only roughly.
func probePoint(spec *trellisv1.StudySpec, its *lattice.Lattice) *trellisv1.Parameters {
	middle, ok := its.From(its.Indices() / 2)
	if !ok {
		middle, _ = its.From(0) // The condition leaves out the second half, or it is beyond the budget.
	}
	point := its.At(middle)
	for _, parameter := range grid.Parameters(spec) {
		if parameter.Name == trainer.FineTune || parameter.Name == trainer.Shift {
			point.Values[parameter.Name] = slices.MaxFunc(parameter.Values, grid.Compare)
		}
	}
	return point
}

// measure trains one point of the grid on random images, on as many cores at once as the study would keep busy here. It
// returns the seconds that an epoch takes, and how it found them.
func (p prober) measure(
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
	used, size := affordable(spec.GetModel(), input, point, size)
	images, validation := probeSize(split, used, size)
	config := worker.TrainerConfig(&trellisv1.RunConfig{Model: spec.GetModel(), Parameters: point, Input: used})
	if size.Memory > p.free {
		fmt.Fprintf(p.notices, "How long an epoch of %s takes is not known: measuring it takes %s of memory, and this machine "+
			"has %s free.\n", spec.GetModel(), output.ShortBytes(size.Memory), output.ShortBytes(p.free))
		return 0, nil, nil
	}
	fmt.Fprintf(p.notices, "Measuring how long an epoch of %s takes on this machine.\n", spec.GetModel())
	cores := int(min(uint64(slots), uint64(runtime.GOMAXPROCS(0)), p.free/max(1, size.Memory)))
	if size.Memory > probeMemory {
		cores = 1
	}
	start := time.Now()
	if images > probeTile || validation > probeTile {
		// A machine may be slow, or busy.
		config.Data = trainer.RandomImages(config, min(images, probeTile), 1)
		tile, err := trainer.Probe(ctx, config, 0)
		if err != nil {
			return 0, nil, fmt.Errorf("measure the speed of training: %w", err)
		}
		within := max(probeTile, int(probeTile*probeTime/max(1, tile)))
		validation = max(1, min(within, validation*min(images, within)/images))
		images = min(images, within)
	}
	config.Data = trainer.RandomImages(config, images, validation)
	epochs := make([]time.Duration, cores)
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
		pace += epoch.Seconds() / float64(cores)
	}
	pace *= longer(size, split, images, validation, from.sizes.GetLargest())
	scaled := 0.0
	if used != input {
		scaled = 1
	}
	return pace, &trellisv1.ForecastBasis{ScaledShare: scaled, Probe: &trellisv1.ForecastBasis_Probe{
		Trainings: uint32(cores), Seconds: took.Seconds(), LatentDim: uint32(config.LatentDim), BatchSize: uint32(config.BatchSize),
		TrainImages: split.GetTrain(), ValidationImages: split.GetValidation(),
		InputAssumed: assumed,
	}}, nil
}

// affordable returns images on which the network of a point does not take too long to be measured, and how large it is
// on these: with half the sides, as often as need be and as is possible. Its layers are the same, and the rest follows
// from their operations.
func affordable(
	model string, input *trellisv1.ModelInput, point *trellisv1.Parameters, size grid.Size,
) (*trellisv1.ModelInput, grid.Size) {
	for input != nil && size.Train > probeTileOperations/probeTile {
		smaller := &trellisv1.ModelInput{
			Channels: input.GetChannels(), Height: input.GetHeight() / 2, Width: input.GetWidth() / 2, Classes: input.GetClasses(),
		}
		its, err := node.Size(model, smaller, point)
		if err != nil {
			break // There is no such network on fewer pixels.
		}
		input, size = smaller, its
	}
	return input, size
}

// longer returns how many times as long an epoch of the largest network takes as one of the probe, on fewer images: as
// many times as it has operations for an image, but not less. The probe may keep codes of its few images where a study
// keeps none.
func longer(
	size grid.Size, split *trellisv1.Split, images, validation int, largest *trellisv1.ModelSize,
) (times float64) {
	times = float64(split.GetTrain()) / float64(images)
	if size.Train == 0 {
		return times
	}
	// The probe has a test image.
	operations, _ := size.Epoch(&trellisv1.Split{Train: uint32(images), Validation: uint32(validation)}, 1)
	return max(times, largest.GetOperations()/operations)
}

// probeSize is how many training and validation images to measure with: as many as an epoch has, or fewer in the same
// ratio, but of either no more than take a second or two.
func probeSize(split *trellisv1.Split, input *trellisv1.ModelInput, size grid.Size) (train, validation int) {
	pixels := uint64(28 * 28)
	if input != nil {
		pixels = uint64(input.GetHeight()) * uint64(input.GetWidth())
	}
	all, most := uint64(split.GetTrain())+uint64(split.GetValidation()), probePixels/pixels
	affordable := max(probeTile, probeOperations/max(1, size.Train))
	images := max(1, min(probeImages, affordable, uint64(split.GetTrain()), most*uint64(split.GetTrain())/all))
	others := min(most, max(probeTile, probeOperations/max(1, size.Evaluate)),
		images*uint64(split.GetValidation())/uint64(split.GetTrain()))
	return int(images), int(max(1, others))
}
