package trainer

import (
	"context"
	"fmt"
	"math"
	"slices"

	"trellis/trainer/adam"
	"trellis/trainer/dataset"
	"trellis/trainer/network"
	"trellis/trainer/stream"
)

// networkModel trains a network with Adam on images.
type networkModel struct {
	config  *Config
	network *network.Network
	solver  *adam.Solver
	best    []float32
	// current keeps the weights while the best ones are tested.
	current []float32
	// order is the training images' in an epoch; inOrder counts from 0 to the largest number of images.
	order, inOrder []uint32
}

func newNetworkModel(config *Config) (*networkModel, error) {
	n, err := newNetwork(config)
	if err != nil {
		return nil, err
	}
	n.Initialize(config.Seed)
	m := &networkModel{
		config:  config,
		network: n,
		solver:  adam.New(len(n.Weights), config.LearningRate, config.WeightDecay),
		best:    slices.Clone(n.Weights),
		current: make([]float32, len(n.Weights)),
		order:   make([]uint32, config.Data.Train.Len()),
		inOrder: make([]uint32, max(config.Data.Validation.Len(), config.Data.Test.Len())),
	}
	for i := range m.inOrder {
		m.inOrder[i] = uint32(i)
	}
	return m, nil
}

func (m *networkModel) trainEpoch(ctx context.Context, epoch int) (float64, error) {
	stream.New(m.config.Seed, stream.BatchOrder, epoch).Permutation(m.order)
	var sum float64
	for batch := range slices.Chunk(m.order, m.config.BatchSize) {
		loss, err := m.network.Train(ctx, m.config.Data.Train.Pixels, batch)
		if err != nil {
			return 0, err
		}
		if err := m.network.Step(m.solver); err != nil {
			return 0, fmt.Errorf("update the weights: %w", err)
		}
		sum += float64(loss * float64(len(batch)))
		count(m.config.Steps)
	}
	return sum / float64(len(m.order)), nil
}

func (m *networkModel) validationLoss(ctx context.Context) (float64, error) {
	return m.evaluate(ctx, m.config.Data.Validation)
}

func (m *networkModel) evaluate(ctx context.Context, images dataset.Images) (float64, error) {
	loss, err := m.network.Evaluate(ctx, images.Pixels, m.inOrder[:images.Len()])
	if err != nil {
		return 0, err
	}
	count(m.config.Steps)
	return loss, nil
}

func (m *networkModel) keepBest() { copy(m.best, m.network.Weights) }

func (m *networkModel) testLoss(ctx context.Context) (float64, error) {
	copy(m.current, m.network.Weights)
	copy(m.network.Weights, m.best)
	defer copy(m.network.Weights, m.current)
	return m.evaluate(ctx, m.config.Data.Test)
}

func (m *networkModel) state() modelState {
	steps, first, second := m.solver.State()
	return modelState{uint64(steps), m.network.Weights, first, second, m.best}
}

func (m *networkModel) resume(epoch int, state modelState) error {
	for _, values := range state.all() {
		if len(*values) != len(m.best) {
			return fmt.Errorf("%w: it has %d weights, want %d", ErrCheckpointMismatch, len(*values), len(m.best))
		}
	}
	batches := (len(m.order) + m.config.BatchSize - 1) / m.config.BatchSize
	if want := uint64(epoch) * uint64(batches); state.steps != want || want > math.MaxInt {
		return fmt.Errorf("%w: it has %d steps, want %d", ErrCheckpointMismatch, state.steps, want)
	}
	if err := m.solver.Restore(int(state.steps), state.firstMoments, state.secondMoments); err != nil {
		return err
	}
	copy(m.network.Weights, state.weights)
	copy(m.best, state.bestWeights)
	return nil
}

func (m *networkModel) bestWeights() map[string][]float32 {
	weights := make(map[string][]float32, len(m.network.Parameters))
	rest := m.best
	for _, parameter := range m.network.Parameters {
		weights[parameter.Name] = slices.Clone(rest[:len(parameter.Values)])
		rest = rest[len(parameter.Values):]
	}
	return weights
}
