package network

import (
	"context"

	"trellis/trainer/executor"
	"trellis/trainer/kernel"
)

// Examples are images and what goes with them.
type Examples struct {
	// Pixels holds one image after another, one byte a pixel.
	Pixels []byte
	// Codes is what the network's frozen layers make of the images, if that is known already: see Network.Codes. Nil:
	// it is not.
	Codes []float32
	// Labels holds one byte per image. A network without labels ignores them.
	Labels []byte
	// Noise is what NoisyImages adds, and Draws are the Builder's. They may be nil for networks without.
	Noise, Draws Normals
	// Offsets move the images. Nil: they stay where they are.
	Offsets Offsets
}

// Normals gives standard normal numbers to images: to each always the same.
type Normals interface {
	// Tile fills a tile, (value, lane), with the numbers of up to kernel.Lanes images, of which none is zero, and lanes
	// without an image with zeros. It works in state, and is safe for concurrent use.
	Tile(tile []float32, images []uint32, state *kernel.NormalState)
}

// Offsets says by how much images are moved: each always the same.
type Offsets interface {
	// Of returns columns to the right and rows down.
	Of(image uint32) (right, down int)
}

// Means are means over images: the loss or, of a validation or test, the score; and the metrics in the order of their
// names.
type Means struct {
	Loss    float64
	Metrics []float64
}

// Train computes the mean loss over a batch of images and its gradients. The batch is the images with the given
// indices. It returns ctx's error within a tile's time of ctx's end; the gradients are then undefined.
func (n *Network) Train(ctx context.Context, examples Examples, batch []uint32) (loss float64, err error) {
	if err := n.run(ctx, n.training, &examples, batch); err != nil {
		return 0, err
	}
	return float64(n.loss[0]), nil
}

// Evaluate computes the mean score over the images with the given indices.
func (n *Network) Evaluate(ctx context.Context, examples Examples, images []uint32) (score float64, err error) {
	if err := n.run(ctx, n.evaluation, &examples, images); err != nil {
		return 0, err
	}
	return float64(n.score[0]), nil
}

// MetricValues are the metrics' means over the images of the last Train or Evaluate, in the order of their names. They
// change with the next.
func (n *Network) MetricValues() []float64 {
	for i, values := range n.metrics {
		n.metricValues[i] = float64(values[0])
	}
	return n.metricValues
}

// maxMembers is how many goroutines run a batch at most: each has weights of its own, arranged for the kernels.
const maxMembers = 8

// run runs a batch, on as many goroutines as there are cores for.
func (n *Network) run(ctx context.Context, team *executor.Team, examples *Examples, images []uint32) error {
	share := 1 / (float32(len(images)) * float32(n.shared))
	tiles := (len(images) + kernel.Lanes - 1) / kernel.Lanes
	members := 1
	if n.Cores != nil && tiles >= 4 && team.Shared() {
		for members < min(tiles/2, maxMembers) && n.Cores.TryTake() {
			defer n.Cores.Return()
			members++
		}
	}
	if err := n.grow(members); err != nil {
		return err
	}
	n.batch = batch{n, ctx, *examples, images, share, n.frozen != nil && examples.Codes == nil}
	err := team.Run(members, tiles, &n.batch)
	if err == nil && n.batch.encode {
		err = n.frozen.End()
	}
	return err
}

// batch is what a team is filled with.
type batch struct {
	network  *Network
	ctx      context.Context
	examples Examples
	images   []uint32
	// share is what each image counts in the loss, and encode says that frozen layers have to be run for it.
	share  float32
	encode bool
}

// Begin lets a member know that the weights may have changed.
func (b *batch) Begin(member int) {
	if b.encode {
		b.network.frozen.Begin(member)
	}
}

// Fill fills a member's memory with a tile of the batch. It returns the context's error.
func (b *batch) Fill(member, number int) error {
	if err := b.ctx.Err(); err != nil {
		return err
	}
	n, rest := b.network, b.images[number*kernel.Lanes:]
	n.fill(n.tiles[member], &b.examples, rest[:min(kernel.Lanes, len(rest))], b.share)
	if b.encode {
		n.frozen.Tile(member)
	}
	return nil
}
