package network

import (
	"context"
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"trellis/trainer/executor"
	"trellis/trainer/kernel"
	"trellis/trainer/operation"
)

// Network is a network with its weights and the memory to run it. It is not safe for concurrent use.
type Network struct {
	// Parameters in the order of the layers.
	Parameters []Parameter
	// Weights and Gradients hold all parameters' values and gradients, one behind the other.
	Weights, Gradients []float32

	// values are the layers' parameters as a gorgonia.Solver takes them.
	values []gorgonia.ValueGrad
	// training computes the loss and all gradients, evaluation the loss alone.
	training, evaluation *executor.Machine
	// The machines' memory: the tile's images, what each lane counts in the loss, and the loss.
	input, share, loss []float32
	// pixels is the number of values in an image.
	pixels int
	// forward and backward are the floating point operations that an image's passes take.
	forward, backward int
}

// build makes, differentiates and compiles a network.
func build(define func(*builder)) (*Network, error) {
	operation.Building.Lock()
	defer operation.Building.Unlock()
	b := &builder{graph: gorgonia.NewGraph()}
	define(b)
	if b.err != nil {
		return nil, b.err
	}
	var nodes gorgonia.Nodes
	total, forward := 0, 0
	for _, layer := range b.layers {
		nodes = append(nodes, layer.node)
		total += operation.ParameterCount(layer.shape)
		forward += layer.shape.FLOPs()
	}
	gradients, err := gorgonia.Grad(b.loss, nodes...)
	if err != nil {
		return nil, fmt.Errorf("differentiate the loss: %w", err)
	}
	n := &Network{
		Weights:   kernel.Values(total),
		Gradients: kernel.Values(total),
		values:    gorgonia.NodesToValueGrads(nodes),
		input:     kernel.Values(b.input.Shape().TotalSize()),
		share:     kernel.Values(kernel.Lanes),
		loss:      make([]float32, 1),
		pixels:    b.input.Shape().TotalSize() / kernel.Lanes,
		forward:   forward,
		// Nobody needs the gradient of the images.
		backward: 2*forward - b.layers[0].shape.FLOPs(),
	}
	bind := func(node *gorgonia.Node, values []float32) {
		if err == nil {
			err = gorgonia.UnsafeLet(node, tensor.New(tensor.WithShape(node.Shape()...), tensor.WithBacking(values)))
		}
	}
	bind(b.input, n.input)
	bind(b.share, n.share)
	bind(b.loss, n.loss)
	offset := 0
	for i, layer := range b.layers {
		end := offset + operation.ParameterCount(layer.shape)
		values, gradient := n.Weights[offset:end:end], n.Gradients[offset:end:end]
		bind(nodes[i], values)
		bind(gradients[i], gradient)
		n.Parameters = append(n.Parameters, layer.parameters(values, gradient)...)
		offset = end
	}
	if err != nil {
		return nil, fmt.Errorf("bind the graph to memory: %w", err)
	}
	if n.training, err = executor.New(append(gradients, b.loss)...); err != nil {
		return nil, fmt.Errorf("compile training: %w", err)
	}
	if n.evaluation, err = executor.New(b.loss); err != nil {
		return nil, fmt.Errorf("compile evaluation: %w", err)
	}
	return n, nil
}

// Train computes the mean loss over a batch of images and its gradients. The batch is the images of pixels, one byte a
// pixel, with the given indices. It returns ctx's error within a tile's time of ctx's end; the gradients are then
// undefined.
func (n *Network) Train(ctx context.Context, pixels []byte, batch []uint32) (loss float64, err error) {
	return n.run(ctx, n.training, pixels, batch)
}

// FLOPs is what Train and Evaluate cost per image: the layers' multiply-adds, each counted as two. As is usual, those
// on padding are counted although they are skipped.
func (n *Network) FLOPs() (train, evaluate int) { return n.forward + n.backward, n.forward }

// Step lets a solver update the weights by the gradients.
func (n *Network) Step(solver gorgonia.Solver) error { return solver.Step(n.values) }

// Evaluate computes the mean loss over the images of pixels with the given indices.
func (n *Network) Evaluate(ctx context.Context, pixels []byte, images []uint32) (loss float64, err error) {
	return n.run(ctx, n.evaluation, pixels, images)
}

func (n *Network) run(ctx context.Context, m *executor.Machine, pixels []byte, images []uint32) (float64, error) {
	share := 1 / (float32(len(images)) * float32(n.pixels))
	m.Begin()
	for len(images) > 0 {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		tile := images[:min(kernel.Lanes, len(images))]
		images = images[len(tile):]
		kernel.FillTile(n.input, pixels, n.pixels, tile)
		for lane := range n.share {
			n.share[lane] = 0
			if lane < len(tile) {
				n.share[lane] = share
			}
		}
		m.Tile()
	}
	if err := m.End(); err != nil {
		return 0, err
	}
	return float64(n.loss[0]), nil
}
