package network

import (
	"fmt"

	"gorgonia.org/gorgonia"

	"trellis/trainer/executor"
	"trellis/trainer/kernel"
	"trellis/trainer/operation"
)

// tile is the memory that a team's member runs on: images and what goes with them, nil where the network has none of
// it.
type tile struct {
	input, clean, labels, draws []float32
	// share is what each lane counts in the loss, and codes what the frozen layers make of the images.
	share, codes []float32
	// noise is the images', before it is scaled, and normals is for drawing it.
	noise   []float32
	normals kernel.NormalState
	// moved moves the images; nil if none are.
	moved *mover
}

// newTile makes a tile of the memory that the network's nodes have.
func (n *Network) newTile(own func(*gorgonia.Node) []float32) *tile {
	b := n.nodes
	t := &tile{
		input: own(b.input), clean: own(b.clean), labels: own(b.labels), draws: own(b.draws), share: own(b.share),
		codes: own(b.codes),
	}
	t.noise = kernel.Values(len(t.clean))
	if n.Shift > 0 {
		t.moved = newMover(imageOf(b.input))
	}
	return t
}

// grow adds members to the teams until there are that many.
func (n *Network) grow(members int) error {
	if len(n.tiles) >= members {
		return nil
	}
	operation.Building.Lock()
	defer operation.Building.Unlock()
	for len(n.tiles) < members {
		memory := map[*gorgonia.Node][]float32{}
		added := n.newTile(func(node *gorgonia.Node) []float32 {
			if node != nil {
				memory[node] = kernel.Values(node.Shape().TotalSize())
			}
			return memory[node]
		})
		for _, team := range []*executor.Team{n.frozen, n.training, n.evaluation} {
			if team == nil {
				continue
			}
			if err := team.Add(memory); err != nil {
				return fmt.Errorf("compile for one more goroutine: %w", err)
			}
		}
		n.tiles = append(n.tiles, added)
	}
	return nil
}

// fill puts images into the machines' inputs, and lets each image count as much as share says.
func (n *Network) fill(t *tile, examples *Examples, images []uint32, share float32) {
	if examples.Codes != nil {
		kernel.FillRows(t.codes, examples.Codes, len(t.codes)/kernel.Lanes, images)
	} else {
		n.fillImages(t, examples, images)
	}
	if t.draws != nil {
		examples.Draws.Tile(t.draws, images, &t.normals)
	}
	if t.labels != nil {
		clear(t.labels)
		for lane, image := range images {
			t.labels[lane] = float32(examples.Labels[image])
		}
	}
	clear(t.share)
	for lane := range images {
		t.share[lane] = share
	}
}

// fillImages fills the input with images, and what is added to them.
func (n *Network) fillImages(t *tile, examples *Examples, images []uint32) {
	to, pixels, indices := t.input, examples.Pixels, images
	if t.clean != nil {
		to = t.clean
	}
	if examples.Offsets != nil {
		pixels, indices = t.moved.move(examples, images)
	}
	kernel.FillTile(to, pixels, n.pixels, indices)
	if t.clean != nil {
		examples.Noise.Tile(t.noise, images, &t.normals)
		kernel.AddScaled(t.input, t.clean, t.noise, float32(n.nodes.noise))
	}
}
