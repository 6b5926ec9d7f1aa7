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
	// without an image with zeros.
	Tile(tile []float32, images []uint32)
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

func (n *Network) run(ctx context.Context, m *executor.Machine, examples *Examples, images []uint32) error {
	share := 1 / (float32(len(images)) * float32(n.shared))
	encode := n.frozen != nil && examples.Codes == nil
	if encode {
		n.frozen.Begin()
	}
	m.Begin()
	for len(images) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		tile := images[:min(kernel.Lanes, len(images))]
		images = images[len(tile):]
		n.fill(examples, tile)
		for lane := range n.share {
			n.share[lane] = 0
			if lane < len(tile) {
				n.share[lane] = share
			}
		}
		if encode {
			n.frozen.Tile()
		}
		m.Tile()
	}
	if encode {
		if err := n.frozen.End(); err != nil {
			return err
		}
	}
	return m.End()
}

// fill puts a tile of images into the machines' inputs.
func (n *Network) fill(examples *Examples, tile []uint32) {
	if examples.Codes != nil {
		n.fillCodes(examples.Codes, tile)
	} else {
		n.fillImages(examples, tile)
	}
	if n.draws != nil {
		examples.Draws.Tile(n.draws, tile)
	}
	if n.labels != nil {
		clear(n.labels)
		for lane, image := range tile {
			n.labels[lane] = float32(examples.Labels[image])
		}
	}
}

// fillImages fills the input with a tile of images, and what is added to them.
func (n *Network) fillImages(examples *Examples, tile []uint32) {
	images, pixels, indices := n.input, examples.Pixels, tile
	if n.clean != nil {
		images = n.clean
	}
	if examples.Offsets != nil {
		pixels, indices = n.moved.move(examples, tile)
	}
	kernel.FillTile(images, pixels, n.pixels, indices)
	if n.clean != nil {
		examples.Noise.Tile(n.noise, tile)
		kernel.AddScaled(n.input, n.clean, n.noise, float32(n.nodes.noise))
	}
}
