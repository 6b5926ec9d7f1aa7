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

// run runs a batch, on as many goroutines as there are cores for.
func (n *Network) run(ctx context.Context, team *executor.Team, examples *Examples, images []uint32) error {
	tiles := (len(images) + kernel.Lanes - 1) / kernel.Lanes
	members := 1
	if tiles > 1 && n.Cores != nil && team.Shared() {
		members = n.loan.take(n.Cores, max(2, tiles/2))
		defer n.loan.end()
	}
	if err := n.grow(members); err != nil {
		return err
	}
	n.members = members
	n.batch = batch{
		network: n, ctx: ctx, examples: *examples, images: images,
		share: 1 / (float32(len(images)) * float32(n.shared)), encode: n.frozen != nil && examples.Codes == nil,
	}
	if n.batch.encode {
		n.frozen.Begin()
	}
	err := team.Run(members, tiles, &n.batch)
	if err == nil && n.batch.encode {
		err = n.frozen.End()
	}
	return err
}

// Each calls do for each of so many parts, which may be done at the same time, on as many goroutines as the last batch
// had and there are cores for.
func (n *Network) Each(parts int, do func(part int)) {
	members := 1
	if n.members > 1 && parts > 1 {
		members = n.loan.take(n.Cores, min(n.members, parts))
		defer n.loan.end()
	}
	n.training.Each(members, parts, do)
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

// Wanted says that somebody else wants the cores that the batch was lent.
func (b *batch) Wanted() bool { return b.network.loan.wanted() }

// Leave gives so many of them back.
func (b *batch) Leave(members int) { b.network.loan.giveBack(members) }
