package trainer

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"trellis/trainer/model"
	"trellis/trainer/network"
)

// Train trains one run to its end, and passes every epoch's losses to report. It is deterministic: the same Config
// gives the same losses and weights, bit for bit, on every machine, whether or not it was interrupted and resumed.
// MaxEpochs has no influence on the epochs up to it.
//
// Train returns an error that wraps ErrInvalidConfig or ErrCheckpointMismatch before it trains anything, the error of
// ctx within milliseconds after ctx is done, and errors of report and Config.Checkpoint, wrapped. A loss that is not
// finite is not an error: the result says Diverged.
//
// Train runs only on the calling goroutine, but for cores that Config.Cores lends it. Several may run at the same time.
func Train(ctx context.Context, config Config, report func(Report) error) (Result, error) {
	if err := config.Validate(); err != nil {
		return Result{}, err
	}
	trainee, err := begin(&config)
	if err != nil {
		return Result{}, fmt.Errorf("build the network: %w", err)
	}
	r := run{
		config: &config, trainee: trainee, progress: newProgress(&config), identity: config.identity(), report: report,
	}
	r.metrics = config.describe().Metrics
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

// begin returns the run before its first epoch.
func begin(config *Config) (model.Trainee, error) {
	definition, err := find(config.Model)
	if err != nil {
		return nil, err
	}
	switch definition := definition.(type) {
	case model.Network:
		return newTraining(config, definition)
	case model.Formula:
		return definition.Begin(model.Run{
			LatentDim: config.LatentDim, LearningRate: config.LearningRate, WeightDecay: config.WeightDecay,
			Seed: config.Seed, EpochTime: config.EpochTime, Steps: config.Steps,
		}), nil
	default:
		return nil, fmt.Errorf("model %q is a %T, neither a network nor a formula", config.Model, definition)
	}
}

// run is one run under way.
type run struct {
	config   *Config
	trainee  model.Trainee
	progress progress
	identity [32]byte
	metrics  []Metric
	report   func(Report) error
	// checkpoint is the one that is passed on, after every epoch anew.
	checkpoint Checkpoint
}

// epoch trains the next epoch, validates, and reports.
func (r *run) epoch(ctx context.Context) error {
	start := time.Now()
	epoch := r.progress.epoch + 1
	training, err := r.trainee.TrainEpoch(ctx, epoch)
	if err != nil {
		return err
	}
	validation, err := r.trainee.Validate(ctx)
	if err != nil {
		return err
	}
	report := Report{Epoch: epoch, TrainLoss: training.Loss, ValidationLoss: validation.Loss}
	report.Metrics = r.name(report.Metrics, "train_", training)
	report.Metrics = r.name(report.Metrics, "validation_", validation)
	if r.progress.observe(&report, r.config) {
		r.trainee.KeepBest()
	}
	if r.progress.stopped != 0 || epoch == r.config.MaxEpochs || slices.Contains(r.config.Milestones, epoch) {
		test := network.Means{Loss: math.NaN(), Metrics: slices.Repeat([]float64{math.NaN()}, len(r.metrics))}
		if r.progress.bestEpoch > 0 {
			if test, err = r.trainee.Test(ctx); err != nil {
				return err
			}
		}
		report.TestLoss = &test.Loss
		report.TestMetrics = r.name(nil, "", test)
	}
	report.Elapsed = time.Since(start)
	if err := r.report(report); err != nil {
		return fmt.Errorf("report epoch %d: %w", epoch, err)
	}
	if r.config.Checkpoint == nil {
		return nil
	}
	r.checkpoint = Checkpoint{r.identity, r.progress, r.trainee.State()}
	if err := r.config.Checkpoint(&r.checkpoint); err != nil {
		return fmt.Errorf("take checkpoint of epoch %d: %w", epoch, err)
	}
	return nil
}

// name adds the metrics to those that are there already, by prefix and name. Without any, it is nil.
func (r *run) name(metrics map[string]float64, prefix string, means network.Means) map[string]float64 {
	for i, metric := range r.metrics {
		if metrics == nil {
			metrics = make(map[string]float64)
		}
		metrics[prefix+metric.Name] = means.Metrics[i]
	}
	return metrics
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
	if err := r.trainee.Resume(checkpoint.Epoch(), checkpoint.state); err != nil {
		return fmt.Errorf("resume from epoch %d: %w: %w", checkpoint.Epoch(), ErrCheckpointMismatch, err)
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
		StopReason: reason,
		Epochs:     r.progress.epoch,
		BestEpoch:  r.progress.bestEpoch,
		BestValue:  r.progress.best,
	}
	if r.progress.bestEpoch > 0 {
		result.Weights = r.trainee.BestWeights()
	}
	return result
}
