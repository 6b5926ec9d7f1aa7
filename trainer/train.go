package trainer

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

// model is what Train drives: a network with its data, or the synthetic curve. Its methods return ctx.Err() within
// milliseconds of ctx's end.
type model interface {
	// trainEpoch trains on every training image once, and returns their mean loss. Epochs count from 1.
	trainEpoch(ctx context.Context, epoch int) (float64, error)
	// validationLoss is the mean over the validation images with the weights as they are.
	validationLoss(ctx context.Context) (float64, error)
	// keepBest remembers the weights as they are as the best ones.
	keepBest()
	// testLoss is the mean over the test images with the best weights. It leaves the weights as they are.
	testLoss(ctx context.Context) (float64, error)
	// state aliases the model's memory, until the next epoch.
	state() modelState
	// resume puts the model where the checkpoint of an epoch was taken. ErrCheckpointMismatch if the sizes differ.
	resume(epoch int, state modelState) error
	// bestWeights is a copy of the best weights, by parameter name.
	bestWeights() map[string][]float32
}

// Train trains one run to its end and passes every epoch's losses to report. It is deterministic: the same Config gives
// the same losses and weights, bit for bit, on every machine, interrupted and resumed or not, and whatever MaxEpochs is
// for all epochs up to it.
//
// It returns an error wrapping ErrInvalidConfig or ErrCheckpointMismatch before anything is trained, ctx's error
// within milliseconds of ctx's end, and whatever report or Config.Checkpoint returned, wrapped. A loss that is not
// finite is no error: the result says Diverged.
//
// Train runs on the calling goroutine alone. Several may run at once.
func Train(ctx context.Context, config Config, report func(Report) error) (Result, error) {
	if err := config.Validate(); err != nil {
		return Result{}, err
	}
	m, err := newModel(&config)
	if err != nil {
		return Result{}, fmt.Errorf("build the network: %w", err)
	}
	r := run{config: &config, model: m, progress: newProgress(), identity: config.identity(), report: report}
	if config.Resume != nil {
		if err := r.resume(config.Resume); err != nil {
			return Result{}, err
		}
	}
	for r.progress.stopped == 0 && r.progress.epoch < config.MaxEpochs {
		if err := r.epoch(ctx); err != nil {
			return Result{}, err
		}
	}
	return r.result(), nil
}

func newModel(config *Config) (model, error) {
	if config.Model == Synthetic {
		return newSynthetic(config), nil
	}
	return newNetworkModel(config)
}

// run is one run under way.
type run struct {
	config   *Config
	model    model
	progress progress
	identity [32]byte
	report   func(Report) error
	// checkpoint is the one that is passed on, after every epoch anew.
	checkpoint Checkpoint
}

// epoch trains the next epoch, validates, and reports.
func (r *run) epoch(ctx context.Context) error {
	start := time.Now()
	epoch := r.progress.epoch + 1
	trainLoss, err := r.model.trainEpoch(ctx, epoch)
	if err != nil {
		return err
	}
	validationLoss, err := r.model.validationLoss(ctx)
	if err != nil {
		return err
	}
	if r.progress.observe(trainLoss, validationLoss, r.config.EarlyStopping) {
		r.model.keepBest()
	}
	report := Report{Epoch: epoch, TrainLoss: trainLoss, ValidationLoss: validationLoss}
	if r.progress.stopped != 0 || epoch == r.config.MaxEpochs || slices.Contains(r.config.Milestones, epoch) {
		testLoss := math.NaN()
		if r.progress.bestEpoch > 0 {
			if testLoss, err = r.model.testLoss(ctx); err != nil {
				return err
			}
		}
		report.TestLoss = &testLoss
	}
	report.Elapsed = time.Since(start)
	if err := r.report(report); err != nil {
		return fmt.Errorf("report epoch %d: %w", epoch, err)
	}
	if r.config.Checkpoint == nil {
		return nil
	}
	r.checkpoint = Checkpoint{r.identity, r.progress, r.model.state()}
	if err := r.config.Checkpoint(&r.checkpoint); err != nil {
		return fmt.Errorf("take checkpoint of epoch %d: %w", epoch, err)
	}
	return nil
}

func (r *run) resume(checkpoint *Checkpoint) error {
	if checkpoint.identity != r.identity {
		return fmt.Errorf("resume from epoch %d: %w: its model, parameters, seed, data, early stopping or numerics "+
			"version differ", checkpoint.Epoch(), ErrCheckpointMismatch)
	}
	if checkpoint.Epoch() > r.config.MaxEpochs {
		return fmt.Errorf("resume from epoch %d: %w: maximum of epochs is %d, want %d or more",
			checkpoint.Epoch(), ErrInvalidConfig, r.config.MaxEpochs, checkpoint.Epoch())
	}
	if err := r.model.resume(checkpoint.Epoch(), checkpoint.state); err != nil {
		return fmt.Errorf("resume from epoch %d: %w", checkpoint.Epoch(), err)
	}
	r.progress = checkpoint.progress
	return nil
}

func (r *run) result() Result {
	reason := r.progress.stopped
	if reason == 0 {
		reason = MaxEpochs
	}
	result := Result{
		StopReason:         reason,
		Epochs:             r.progress.epoch,
		BestEpoch:          r.progress.bestEpoch,
		BestValidationLoss: r.progress.bestLoss,
	}
	if r.progress.bestEpoch > 0 {
		result.Weights = r.model.bestWeights()
	}
	return result
}
