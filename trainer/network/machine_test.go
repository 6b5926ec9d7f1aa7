package network

import (
	"math/rand/v2"
	"slices"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"trellis/trainer/kernel"
	"trellis/trainer/operation"
)

// Gorgonia's own machine and ours run the same graph to the same bits.
func TestTapeMachineAgrees(t *testing.T) {
	n, err := NewConvAutoencoder(5)
	if err != nil {
		t.Fatal(err)
	}
	n.Initialize(3)
	images, batch := mnist(t), []uint32{4, 9, 2, 7, 1}
	loss, err := n.Train(t.Context(), images, batch)
	if err != nil {
		t.Fatal(err)
	}

	operation.Building.Lock()
	defer operation.Building.Unlock()
	b := &Builder{graph: gorgonia.NewGraph()}
	convAutoencoder(b, 5)
	if b.err != nil {
		t.Fatal(b.err)
	}
	let := func(node *gorgonia.Node, values []float32) {
		value := tensor.New(tensor.WithShape(node.Shape()...), tensor.WithBacking(slices.Clone(values)))
		if err := gorgonia.Let(node, value); err != nil {
			t.Fatal(err)
		}
	}
	let(b.input, n.tiles[0].input)
	let(b.share, n.tiles[0].share)
	var nodes gorgonia.Nodes
	rest := n.Weights
	for _, layer := range b.layers {
		nodes = append(nodes, layer.node)
		let(layer.node, rest[:layer.node.Shape().TotalSize()])
		rest = rest[layer.node.Shape().TotalSize():]
	}
	gradients, err := gorgonia.Grad(b.loss, nodes...)
	if err != nil {
		t.Fatal(err)
	}
	tape := gorgonia.NewTapeMachine(b.graph)
	defer tape.Close()
	if err := tape.RunAll(); err != nil {
		t.Fatal(err)
	}
	if tapeLoss := b.loss.Value().Data().(float32); float64(tapeLoss) != loss {
		t.Errorf("tape machine's loss is %v, ours %v", tapeLoss, loss)
	}
	rest = n.Gradients
	for i, layer := range b.layers {
		want := gradients[i].Value().Data().([]float32)
		if got := rest[:len(want)]; !slices.Equal(got, want) {
			t.Errorf("gradients of %s differ: ours begin %v, the tape machine's %v", layer.name, got[:3], want[:3])
		}
		rest = rest[len(want):]
	}
}

// An image's gradient does not depend on what else is in its tile, nor on what the tile's empty lanes held before.
func TestEmptyLanesCountNothing(t *testing.T) {
	n, err := NewConvAutoencoder(3)
	if err != nil {
		t.Fatal(err)
	}
	n.Initialize(1)
	images := mnist(t)
	train := func(batch ...uint32) (float64, []float32) {
		loss, err := n.Train(t.Context(), images, batch)
		if err != nil {
			t.Fatal(err)
		}
		return loss, slices.Clone(n.Gradients)
	}
	full := make([]uint32, kernel.Lanes)
	for i := range full {
		full[i] = uint32(100 + i)
	}
	lossFresh, gradientFresh := train(5, 6, 7)
	train(full...)
	loss, gradient := train(5, 6, 7)
	if loss != lossFresh || !slices.Equal(gradient, gradientFresh) {
		t.Error("a batch of three images depends on the batch before it")
	}
	single := 0.0
	for _, image := range []uint32{5, 6, 7} {
		loss, err := n.Evaluate(t.Context(), images, []uint32{image})
		if err != nil {
			t.Fatal(err)
		}
		single += loss / 3
	}
	if difference := single/loss - 1; difference > 1e-6 || difference < -1e-6 {
		t.Errorf("three images' mean loss is %v, the mean of their losses %v", loss, single)
	}
}

// A batch of several tiles, the last one not full, has the mean loss of its images.
func TestBatchIsTheMeanOfItsImages(t *testing.T) {
	n, err := NewConvAutoencoder(4)
	if err != nil {
		t.Fatal(err)
	}
	n.Initialize(2)
	images := mnist(t)
	random := rand.New(rand.NewPCG(1, 1))
	batch := make([]uint32, 2*kernel.Lanes+5)
	var losses, gradients float64
	for i := range batch {
		batch[i] = uint32(random.IntN(60000))
		loss, err := n.Train(t.Context(), images, batch[i:i+1])
		if err != nil {
			t.Fatal(err)
		}
		losses += loss
		gradients += float64(n.Gradients[0])
	}
	loss, err := n.Train(t.Context(), images, batch)
	if err != nil {
		t.Fatal(err)
	}
	count := float64(len(batch))
	if difference := losses/count/loss - 1; difference > 1e-6 || difference < -1e-6 {
		t.Errorf("batch's loss is %v, its images' %v", loss, losses/count)
	}
	if difference := gradients/count/float64(n.Gradients[0]) - 1; difference > 1e-4 || difference < -1e-4 {
		t.Errorf("batch's gradient is %v, its images' %v", n.Gradients[0], gradients/count)
	}
}

func TestTrainingDoesNotAllocate(t *testing.T) {
	n, err := NewConvAutoencoder(16)
	if err != nil {
		t.Fatal(err)
	}
	n.Initialize(1)
	images, batch := mnist(t), make([]uint32, kernel.Lanes+3)
	ctx := t.Context()
	if allocations := testing.AllocsPerRun(2, func() {
		if _, err := n.Train(ctx, images, batch); err != nil {
			t.Fatal(err)
		}
	}); allocations != 0 {
		t.Errorf("a step's gradients take %v allocations, want none", allocations)
	}
	if allocations := testing.AllocsPerRun(2, func() {
		if _, err := n.Evaluate(ctx, images, batch); err != nil {
			t.Fatal(err)
		}
	}); allocations != 0 {
		t.Errorf("an evaluation takes %v allocations, want none", allocations)
	}
}
