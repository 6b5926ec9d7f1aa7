package trainer

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"trellis/trainer/dataset"
	"trellis/trainer/network"
)

// NumericsVersion is the version of the trainer's arithmetic: the same version gives the same bits for the same Config
// on every machine. Any change that alters a bit of a loss or a weight must change it.
const NumericsVersion = "1"

// MaxCores is how many cores a run uses at most, its own among them.
const MaxCores = network.MaxMembers

// Config describes one run: everything that determines its losses, and how many epochs to train.
type Config struct {
	// Model is the name of one of Models.
	Model string
	// LatentDim is the size of the encoded space, 1 to 784.
	LatentDim int
	// LearningRate is Adam's step size, above 0.
	LearningRate float64
	// WeightDecay is the L2 term that Adam adds to the gradient, 0 or more.
	WeightDecay float64
	// BatchSize is the number of images per optimiser step. The last batch of an epoch may be smaller.
	BatchSize int
	// Seed keys the initial weights, the batch order, and all noise.
	Seed uint32
	// Values has the values on the axes that only the model has, by name; of texts, the places in Axis.Texts. An axis
	// with a default may be left out.
	Values map[string]float64
	// Pretrained is the checkpoint whose best weights the run starts from. It must be of a model that Model.Pretrained
	// lists, with the same latent dimension. It is nil for models that take none. Train only reads it, so runs may
	// share it.
	Pretrained *Checkpoint
	// MaxEpochs ends the run if nothing else does. It does not influence the epochs before.
	MaxEpochs int
	// Milestones are epochs after which the loss on the test images is reported, with the best weights so far. It is
	// always reported after the run's last epoch. Milestones do not influence the training.
	Milestones []int
	// EarlyStopping ends a run that no longer improves. The zero value never ends it.
	EarlyStopping EarlyStopping
	// Objective chooses the best epoch. It does not influence the losses.
	Objective Objective
	// Input is what the network takes. The zero value is the paper's: gray images of 28 x 28 pixels, of ten classes.
	Input Input
	// Data is what to train on: images such as Input says. The synthetic model ignores it. Train only reads it, so runs
	// may share it.
	Data dataset.Split
	// EpochTime is how long the synthetic model waits per epoch.
	EpochTime time.Duration
	// Resume continues from a checkpoint of the same run, bit for bit. Reports start after its epoch: there are none if
	// the run had already ended by then.
	Resume *Checkpoint
	// Checkpoint, if not nil, is called after the report of every epoch. Its argument aliases the run's memory, and is
	// valid until it returns.
	Checkpoint func(*Checkpoint) error
	// Cores, if not nil, lends the run cores for batches of 17 images or more. They do not influence a bit.
	Cores network.Cores
	// Steps, if not nil, counts optimiser steps, validation passes, and parts of the images that are encoded once for
	// all epochs, for a watchdog.
	Steps *atomic.Uint64
}

// input is what the network takes.
func (c *Config) input() Input {
	if c.Input == (Input{}) {
		return network.Digits
	}
	return c.Input
}

// hyperparameter is a number of Config that every model has.
type hyperparameter struct {
	// name is that in model files, label that in errors.
	name, label string
	value       func(*Config) float64
	set         func(c *Config, value float64)
	whole       bool
	// valid says which values there are, and want says it in words. Without, there are all.
	valid func(float64) bool
	want  string
	// later says that runs were trained before there was the parameter, which had the value without then. That value
	// has no part in the identity, so that their checkpoints are still theirs.
	later   bool
	without float64
}

// hyperparameters are what is checked, written into model files, and part of a run's identity.
var hyperparameters = []hyperparameter{
	{
		name: "latent_dim", label: "latent dimension", whole: true,
		value: func(c *Config) float64 { return float64(c.LatentDim) },
		set:   func(c *Config, value float64) { c.LatentDim = int(value) },
		valid: func(value float64) bool { return 1 <= value && value <= MaxLatentDim },
		want:  fmt.Sprintf("1 to %d", MaxLatentDim),
	},
	{
		name: "learning_rate", label: "learning rate", value: func(c *Config) float64 { return c.LearningRate },
		set:   func(c *Config, value float64) { c.LearningRate = value },
		valid: func(value float64) bool { return value > 0 && finite(value) }, want: "a number above 0",
	},
	{
		name: "weight_decay", label: "weight decay", value: func(c *Config) float64 { return c.WeightDecay },
		set:   func(c *Config, value float64) { c.WeightDecay = value },
		valid: func(value float64) bool { return value >= 0 && finite(value) }, want: "0 or more",
	},
	{
		name: "batch_size", label: "batch size", whole: true,
		value: func(c *Config) float64 { return float64(c.BatchSize) },
		set:   func(c *Config, value float64) { c.BatchSize = int(value) },
		valid: func(value float64) bool { return 1 <= value && value <= MaxBatchSize },
		want:  fmt.Sprintf("1 to %d", MaxBatchSize),
	},
	{name: "seed", label: "seed", whole: true, value: func(c *Config) float64 { return float64(c.Seed) }},
}

// Set gives the run its value on an axis of its model.
func (c *Config) Set(axis string, value float64) {
	for _, p := range hyperparameters {
		if p.name == axis && p.set != nil {
			p.set(c, value)
			return
		}
	}
	if c.Values == nil {
		c.Values = map[string]float64{}
	}
	c.Values[axis] = value
}

// SetText gives the run a text on an axis of its model, which is known.
func (c *Config) SetText(axis, text string) {
	m := c.describe()
	its := m.Axis(axis)
	c.Set(axis, its.Value(text))
}

// text is the run's value of the parameter, with the digits that tell it from others.
func (p *hyperparameter) text(c *Config) string {
	if p.whole {
		return strconv.FormatFloat(p.value(c), 'f', -1, 64)
	}
	return number(p.value(c))
}

// Objective says which epoch of a run is the best, whose weights are kept and tested. The zero value is the one with
// the lowest validation loss.
type Objective struct {
	// Metric is "validation_loss", which is the default, "train_loss", or a metric named as in Report.
	Metric string
	// Maximize says that higher values are better.
	Maximize bool
	// Latest says that each epoch is better than those before: the objective is computed from the last values.
	Latest bool
}

// EarlyStopping ends a run whose metric, by default the validation loss, has not improved by more than MinDelta on the
// last value that did so for Patience epochs in a row (paper, section 2.1).
type EarlyStopping struct {
	// Patience is in epochs; 0 never stops.
	Patience int
	MinDelta float64
	// Metric is named as in Objective. Maximize says that higher values are better.
	Metric   string
	Maximize bool
}

// Report has the results of one epoch.
type Report struct {
	// Epoch counts from 1.
	Epoch int
	// TrainLoss is the mean over the epoch's training images, each at the time when its batch was trained on.
	// Model.Loss says what the losses are.
	TrainLoss float64
	// ValidationLoss is the mean over the validation images after the epoch.
	ValidationLoss float64
	// Metrics has the model's metrics by name, on the training images ("train_accuracy") and on the validation images
	// ("validation_accuracy"). They are means, like the losses. It is nil if the model has none.
	Metrics map[string]float64
	// TestLoss is the mean over the test images with the best weights so far; nil except at milestones and at the end.
	// NaN while there is no best epoch.
	TestLoss *float64
	// TestMetrics has the model's metrics by name ("accuracy") if TestLoss is set: for the same images and weights.
	TestMetrics map[string]float64
	// Elapsed is how long the epoch took, including validation and test.
	Elapsed time.Duration
}

// StopReason says why a run ended by itself.
type StopReason int

const (
	MaxEpochs StopReason = iota + 1
	EarlyStopped
	// Diverged means that a loss was not a finite number. It is a result, not an error.
	Diverged
)

// Result says how a run ended.
type Result struct {
	StopReason StopReason
	// Epochs is how many epochs were trained. BestEpoch is the best of them by Config.Objective: the one with the
	// lowest validation loss by default. It is 0 if no value was finite.
	Epochs, BestEpoch int
	// BestValue is the value of the objective's metric in BestEpoch; NaN if BestEpoch is 0.
	BestValue float64
	// Weights has the weights of BestEpoch, by parameter name, in PyTorch's layout. It is nil for the synthetic model,
	// and if BestEpoch is 0.
	Weights map[string][]float32
}
