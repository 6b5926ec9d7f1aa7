package model

import (
	"context"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"trellis/trainer/network"
)

// Model describes a model.
type Model struct {
	// Name is what configurations call it.
	Name string
	// Summary says in a line what it is.
	Summary string
	// Axes are all that it has: see the function Axes.
	Axes []Axis
	// Data says that it trains on a data set, of images of MinSide to MaxSide pixels a side and up to MaxChannels
	// channels.
	Data                          bool
	MinSide, MaxSide, MaxChannels int
	// Classes is how many classes it tells apart at least; as many as its input has if those are more. 0: it needs no
	// labels.
	Classes int
	// Pretrained are the models with whose best weights a run can begin, and then must begin. None: a run begins with
	// random weights.
	Pretrained []string
	// Loss says what its losses are.
	Loss string
	// Metrics are what it reports beside its losses.
	Metrics []Metric
}

// Axis is a parameter of a model.
type Axis struct {
	Name string
	// Summary says in a line what it is.
	Summary string
	Kind    Kind
	// Minimum and Maximum bound its values. ExclusiveMinimum says that the minimum itself is too low.
	Minimum, Maximum float64
	ExclusiveMinimum bool
	// Default is the value of whoever gives none; nil if one must be given.
	Default *float64
	// Texts are the values of an axis of texts.
	Texts []string
	// Common says that all models have it.
	Common bool
	// Encoder says that it shapes the encoder, so that pretrained weights only fit their own value.
	Encoder bool
	// Size is what it does to the size of the network.
	Size Effect
}

// Value returns a text's place among the axis's texts, and NaN for other texts.
func (a *Axis) Value(text string) float64 {
	if i := slices.Index(a.Texts, text); i >= 0 {
		return float64(i)
	}
	return math.NaN()
}

// Metric is a number that a model reports beside its losses: a mean over images.
type Metric struct {
	Name string
	// Summary says in a line what it is.
	Summary string
	// HigherIsBetter says which values are better, where that is not said.
	HigherIsBetter bool
}

// Values are a run's values on its model's own axes, by name, with defaults filled in.
type Values map[string]float64

// Definition is a model: a Network or a Formula.
type Definition interface {
	Describe() Model
}

// Network is a model that is a network, which Adam trains.
type Network interface {
	Definition
	// Layers builds the network for an input. The metrics that it names are those of its description, in the same
	// order.
	Layers(b *network.Builder, input network.Input, latentDim int, values Values)
}

// Formula is a model without a network.
type Formula interface {
	Definition
	Begin(Run) Trainee
}

// Run is what a formula gets of a run's configuration.
type Run struct {
	LatentDim                 int
	LearningRate, WeightDecay float64
	Seed                      uint32
	// EpochTime is how long an epoch takes.
	EpochTime time.Duration
	// Steps counts, if it is set, what a watchdog is to see of the progress.
	Steps *atomic.Uint64
}

// Count adds a step to the counter, if there is one.
func (r *Run) Count() {
	if r.Steps != nil {
		r.Steps.Add(1)
	}
}

// Trainee is one run of a model: what the trainer drives. Its methods return ctx.Err() within milliseconds of ctx's
// end.
type Trainee interface {
	// TrainEpoch trains on every training image once, and returns their means. Epochs count from 1.
	TrainEpoch(ctx context.Context, epoch int) (network.Means, error)
	// Validate returns the means over the validation images with the weights as they are.
	Validate(ctx context.Context) (network.Means, error)
	// KeepBest remembers the weights as they are as the best ones.
	KeepBest()
	// Test returns the means over the test images with the best weights. It leaves the weights as they are.
	Test(ctx context.Context) (network.Means, error)
	// State aliases the run's memory, until the next epoch.
	State() State
	// Resume puts the run where the checkpoint of an epoch was taken. ErrState if the sizes differ.
	Resume(epoch int, state State) error
	// BestWeights is a copy of the best weights, by parameter name.
	BestWeights() map[string][]float32
}
