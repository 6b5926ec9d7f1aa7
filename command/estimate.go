package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/sync/errgroup"

	"trellis/coordinator/grid"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
	"trellis/trainer/dataset"
)

const (
	// probeTime is how long the speed of training is measured.
	probeTime = time.Second
	// probeImages is how many images an epoch of the measurement trains on at most.
	probeImages = 2048
)

// estimate is what a study would cost. Its field names are those of --dry-run -o json and yaml.
type estimate struct {
	Study  string `json:"study" yaml:"study"`
	Trials uint64 `json:"trials" yaml:"trials"`
	Runs   uint64 `json:"runs" yaml:"runs"`
	// Epochs is the most that all runs together take.
	Epochs uint64 `json:"epochs" yaml:"epochs"`
	// EpochsAlone is what it would be if no trials shared a run.
	EpochsAlone uint64 `json:"epochs_alone" yaml:"epochs_alone"`
	Slots       int    `json:"slots" yaml:"slots"`
	// SecondsPerEpoch is one run's on one slot.
	SecondsPerEpoch float64 `json:"seconds_per_epoch" yaml:"seconds_per_epoch"`
	// Hours is the most that the study takes on all slots.
	Hours float64 `json:"hours" yaml:"hours"`
	// Basis says how the seconds were found.
	Basis string `json:"basis" yaml:"basis"`
}

// dryRun writes what a study would cost.
func (cli *commandLine) dryRun(
	parent context.Context, format outputFormat, spec *trellisv1.StudySpec, data *dataOptions, slots int,
) error {
	ctx, stop := interruptible(parent)
	defer stop()
	if slots < 0 {
		return usageErrorf("--slots takes a number from 1 up, not %d", slots)
	}
	if slots == 0 {
		slots = runtime.GOMAXPROCS(0)
	}
	e, err := estimateStudy(ctx, spec, data, slots)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	return e.write(cli.stdout, format)
}

// estimateStudy counts a study's epochs, and measures how long one takes.
func estimateStudy(ctx context.Context, spec *trellisv1.StudySpec, data *dataOptions, slots int) (*estimate, error) {
	summary, err := grid.Summarize(spec)
	if err != nil {
		return nil, fmt.Errorf("count the study's trials: %w", err)
	}
	e := &estimate{
		Study: spec.GetName(), Trials: summary.Trials, Runs: summary.Runs, Epochs: summary.Epochs,
		EpochsAlone: summary.EpochsAlone, Slots: slots,
	}
	points, err := grid.New(spec)
	if err != nil {
		return nil, fmt.Errorf("read the study's grid: %w", err)
	}
	if spec.GetModel() == trainer.Synthetic {
		e.SecondsPerEpoch = spec.GetSynthetic().GetEpochTime().AsDuration().Seconds()
		e.Basis = "the spec's epoch_time"
	} else if err := e.measure(ctx, spec, points.At(points.Size()/2), data); err != nil {
		return nil, err
	}
	// However many slots there are, the longest run is trained on one.
	var longest uint64
	for _, point := range points.All() {
		longest = max(longest, uint64(point.GetMaxEpochs()))
	}
	busy := max(float64(e.Epochs)/float64(slots), float64(longest))
	e.Hours = busy * e.SecondsPerEpoch / 3600
	return e, nil
}

// measure trains one point of the grid on random images, on as many cores at once as the study would keep busy here.
func (e *estimate) measure(
	ctx context.Context, spec *trellisv1.StudySpec, point *trellisv1.Parameters, data *dataOptions,
) error {
	split, err := splitFor(ctx, spec, data)
	if err != nil {
		return err
	}
	images := min(probeImages, split.GetTrain())
	validation := max(1, uint32(uint64(images)*uint64(split.GetValidation())/uint64(split.GetTrain())))
	config := trainer.Config{
		Model:        spec.GetModel(),
		LatentDim:    int(point.GetLatentDim()),
		LearningRate: point.GetLearningRate(),
		WeightDecay:  point.GetWeightDecay(),
		BatchSize:    int(point.GetBatchSize()),
		Seed:         point.GetSeed(),
		MaxEpochs:    1 << 20, // The clock ends it.
		Data:         randomImages(int(images), int(validation)),
	}
	cores := min(e.Slots, runtime.GOMAXPROCS(0))
	seconds := make([]float64, cores)
	group, ctx := errgroup.WithContext(ctx)
	for core := range cores {
		group.Go(func() (err error) {
			seconds[core], err = probe(ctx, config)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("measure the speed of training: %w", err)
	}
	for _, s := range seconds {
		e.SecondsPerEpoch += s / float64(cores) * float64(split.GetTrain()) / float64(images)
	}
	e.Basis = fmt.Sprintf("measured on this machine: %s side by side for %v, latent dimension %d, batch size %d; an "+
		"epoch is %d training and %d validation images", count(uint64(cores), "training"), probeTime, point.GetLatentDim(),
		point.GetBatchSize(), split.GetTrain(), split.GetValidation())
	return nil
}

// errMeasured ends a probe.
var errMeasured = errors.New("measured")

// probe trains for probeTime and at least two epochs, and returns the seconds that an epoch took. The first does not
// count, unless it alone took that long: it warms caches.
func probe(ctx context.Context, config trainer.Config) (float64, error) {
	start := time.Now()
	var elapsed time.Duration
	var epochs int
	_, err := trainer.Train(ctx, config, func(report trainer.Report) error {
		over := time.Since(start) >= probeTime
		if report.Epoch > 1 || over {
			elapsed += report.Elapsed
			epochs++
		}
		if over && epochs > 0 {
			return errMeasured
		}
		return nil
	})
	switch {
	case errors.Is(err, errMeasured):
		return elapsed.Seconds() / float64(epochs), nil
	case err != nil:
		return 0, err
	default:
		// The losses of random images diverged.
		return elapsed.Seconds() / float64(max(epochs, 1)), nil
	}
}

// splitFor returns how many images an epoch takes. It needs the data set only if the spec does not say.
func splitFor(ctx context.Context, spec *trellisv1.StudySpec, data *dataOptions) (*trellisv1.Split, error) {
	if split := spec.GetSplit(); split != nil {
		return split, nil
	}
	dataSets, err := newDataSets(data)
	if err != nil {
		return nil, err
	}
	dataSet, err := dataSets.Find(ctx, spec.GetData())
	if err != nil {
		return nil, fmt.Errorf("cannot tell how many images an epoch has, since the spec has no split: %w", err)
	}
	split, err := grid.ResolveSplit(spec, dataSet)
	if err != nil {
		return nil, usageErrorf("%w", err)
	}
	return split, nil
}

// The size of the images that the networks take, in pixels.
const imageSide = 28

// randomImages returns a split of noise. What the pixels are does not change how long training takes.
func randomImages(train, validation int) dataset.Split {
	random := rand.New(rand.NewPCG(1, 1))
	images := func(n int) dataset.Images {
		images := dataset.Images{Pixels: make([]byte, n*imageSide*imageSide), Labels: make([]byte, n)}
		for i := range images.Pixels {
			images.Pixels[i] = byte(random.Uint32())
		}
		return images
	}
	return dataset.Split{
		Height: imageSide, Width: imageSide, Train: images(train), Validation: images(validation), Test: images(1),
	}
}

// write writes the estimate in one of the formats.
func (e *estimate) write(out io.Writer, format outputFormat) error {
	var err error
	switch format {
	case formatJSON:
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(e)
	case formatYAML:
		var data []byte
		if data, err = yaml.Marshal(e); err == nil {
			_, err = out.Write(data)
		}
	case formatCSV:
		_, err = fmt.Fprintf(out, "study,trials,runs,epochs,epochs_alone,slots,seconds_per_epoch,hours\n"+
			"%s,%d,%d,%d,%d,%d,%s,%s\n", e.Study, e.Trials, e.Runs, e.Epochs, e.EpochsAlone, e.Slots,
			plainNumber(e.SecondsPerEpoch), plainNumber(e.Hours))
	default:
		_, err = fmt.Fprintln(out, e.table())
	}
	if err != nil {
		return fmt.Errorf("write the estimate: %w", err)
	}
	return nil
}

func (e *estimate) table() string {
	table := newTable()
	row := func(name, format string, values ...any) {
		table.AppendRow([]any{name, fmt.Sprintf(format, values...)})
	}
	seconds := func(s float64) string { return shortDuration(time.Duration(s * float64(time.Second))) }
	row("study", "%s", e.Study)
	row("trials", "%d", e.Trials)
	row("runs", "%d", e.Runs)
	shared := ""
	if e.EpochsAlone > e.Epochs {
		shared = fmt.Sprintf("; %d if trials that differ in max_epochs alone did not share a run", e.EpochsAlone)
	}
	row("epochs", "%d at most%s", e.Epochs, shared)
	row("time per epoch", "%s", seconds(e.SecondsPerEpoch))
	row("hours", "%.2f at most (%s) on %s", e.Hours, seconds(e.Hours*3600), count(uint64(e.Slots), "slot"))
	row("estimated from", "%s", e.Basis)
	return table.Render()
}
