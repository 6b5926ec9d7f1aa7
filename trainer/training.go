package trainer

import (
	"context"
	"fmt"
	"math"
	"slices"

	"trellis/trainer/adam"
	"trellis/trainer/dataset"
	"trellis/trainer/model"
	"trellis/trainer/network"
	"trellis/trainer/stream"
)

// training is a run of a network: Adam on images.
type training struct {
	config  *Config
	network *network.Network
	solver  *adam.Solver
	// The optimiser's moments, with zeros for weights that are not trained.
	first, second []float32
	best          []float32
	// current keeps the weights while the best ones are tested.
	current []float32
	// order is the training images' in an epoch; inOrder counts from 0 to the largest number of images.
	order, inOrder []uint32
	codes          codes
}

func newTraining(config *Config, definition model.Network) (*training, error) {
	n, err := network.Build(config.layers(definition))
	if err != nil {
		return nil, err
	}
	n.Initialize(config.Seed)
	n.Cores = config.Cores
	if config.Pretrained != nil {
		if err := config.takeOver(n); err != nil {
			return nil, err
		}
	}
	t := &training{
		config:  config,
		network: n,
		first:   make([]float32, len(n.Weights)),
		second:  make([]float32, len(n.Weights)),
		best:    slices.Clone(n.Weights),
		current: make([]float32, len(n.Weights)),
		order:   make([]uint32, config.Data.Train.Len()),
		inOrder: make([]uint32, max(config.Data.Validation.Len(), config.Data.Test.Len())),
	}
	t.solver = adam.NewIn(t.first[n.Frozen:], t.second[n.Frozen:], config.LearningRate, config.WeightDecay)
	t.solver.Each = n.Each
	for i := range t.inOrder {
		t.inOrder[i] = uint32(i)
	}
	t.codes = newCodes(config, n)
	return t, nil
}

// layers makes the network of a configuration, of which the input, the latent dimension and the values on the model's
// own axes matter.
func (c *Config) layers(definition model.Network) func(*network.Builder) {
	return func(b *network.Builder) { definition.Layers(b, c.input(), c.LatentDim, c.values()) }
}

// examples are images with what is drawn for them in an epoch, which keys the draws; those of validation and test are
// of epoch 0 always.
func (t *training) examples(images dataset.Images, noise, sample stream.Purpose, epoch int) network.Examples {
	return network.Examples{
		Pixels: images.Pixels,
		Labels: images.Labels,
		Noise:  stream.NewNormals(t.config.Seed, noise, epoch),
		Draws:  stream.NewNormals(t.config.Seed, sample, epoch),
	}
}

// trainingExamples are what an epoch trains on.
func (t *training) trainingExamples(epoch int) network.Examples {
	examples := t.examples(t.config.Data.Train, stream.TrainingNoise, stream.TrainingSample, epoch)
	if reach := t.network.Shift; reach > 0 {
		examples.Offsets = stream.NewOffsets(t.config.Seed, stream.TrainingShift, epoch, reach)
	}
	return examples
}

func (t *training) TrainEpoch(ctx context.Context, epoch int) (network.Means, error) {
	stream.New(t.config.Seed, stream.BatchOrder, epoch).Permutation(t.order)
	examples := t.trainingExamples(epoch)
	var err error
	if examples.Codes, err = t.encode(ctx, &t.codes.training, examples.Pixels); err != nil {
		return network.Means{}, err
	}
	means := network.Means{Metrics: make([]float64, len(t.network.Metrics))}
	for batch := range slices.Chunk(t.order, t.config.BatchSize) {
		loss, err := t.network.Train(ctx, examples, batch)
		if err != nil {
			return network.Means{}, err
		}
		if err := t.network.Step(t.solver); err != nil {
			return network.Means{}, fmt.Errorf("update the weights: %w", err)
		}
		means.Loss += float64(loss * float64(len(batch)))
		for i, value := range t.network.MetricValues() {
			means.Metrics[i] += float64(value * float64(len(batch)))
		}
		t.count()
	}
	means.Loss /= float64(len(t.order))
	for i := range means.Metrics {
		means.Metrics[i] /= float64(len(t.order))
	}
	return means, nil
}

func (t *training) Validate(ctx context.Context) (network.Means, error) {
	images := t.config.Data.Validation
	examples := t.examples(images, stream.ValidationNoise, stream.ValidationSample, 0)
	return t.evaluate(ctx, examples, &t.codes.validation, images.Len())
}

func (t *training) evaluate(
	ctx context.Context, examples network.Examples, kept *keptCodes, images int,
) (network.Means, error) {
	var err error
	if examples.Codes, err = t.encode(ctx, kept, examples.Pixels); err != nil {
		return network.Means{}, err
	}
	score, err := t.network.Evaluate(ctx, examples, t.inOrder[:images])
	if err != nil {
		return network.Means{}, err
	}
	t.count()
	return network.Means{Loss: score, Metrics: slices.Clone(t.network.MetricValues())}, nil
}

func (t *training) KeepBest() { copy(t.best, t.network.Weights) }

func (t *training) Test(ctx context.Context) (network.Means, error) {
	copy(t.current, t.network.Weights)
	copy(t.network.Weights, t.best)
	defer copy(t.network.Weights, t.current)
	images := t.config.Data.Test
	examples := t.examples(images, stream.TestNoise, stream.TestSample, 0)
	return t.evaluate(ctx, examples, &t.codes.test, images.Len())
}

func (t *training) State() model.State {
	steps, _, _ := t.solver.State()
	return model.State{
		Steps: uint64(steps), Weights: t.network.Weights, FirstMoments: t.first, SecondMoments: t.second,
		BestWeights: t.best,
	}
}

func (t *training) Resume(epoch int, state model.State) error {
	for _, values := range state.All() {
		if len(*values) != len(t.best) {
			return fmt.Errorf("%w: it has %d weights, want %d", model.ErrState, len(*values), len(t.best))
		}
	}
	batches := (len(t.order) + t.config.BatchSize - 1) / t.config.BatchSize
	if want := uint64(epoch) * uint64(batches); state.Steps != want || want > math.MaxInt {
		return fmt.Errorf("%w: it has %d steps, want %d", model.ErrState, state.Steps, want)
	}
	frozen := t.network.Frozen
	if err := t.solver.Restore(int(state.Steps), state.FirstMoments[frozen:],
		state.SecondMoments[frozen:]); err != nil {
		return err
	}
	copy(t.network.Weights, state.Weights)
	copy(t.best, state.BestWeights)
	return nil
}

func (t *training) BestWeights() map[string][]float32 {
	weights := make(map[string][]float32, len(t.network.Parameters))
	rest := t.best
	for _, parameter := range t.network.Parameters {
		weights[parameter.Name] = slices.Clone(rest[:len(parameter.Values)])
		rest = rest[len(parameter.Values):]
	}
	return weights
}

// count adds a step to the counter, if there is one.
func (t *training) count() {
	if t.config.Steps != nil {
		t.config.Steps.Add(1)
	}
}
