package kernel

// Faint numbers are so small that their products with weights may be subnormal. A sigmoid's output that should be 0, as
// on the margin of images of digits, soon has such a gradient, and what comes of that is faint too: a step of the
// autoencoder took twice as long with them. Three things keep faint gradients away from the multiply-adds of transposed
// convolutions, and leave all bits as they are:
//
//   - In gradients of weights, gradients of outputs times 2^32 and inputs times 2^-32 have the same products. This
//     holds as long as scaled inputs are normal, or zero, and not large. Few sums are subnormal, as they are long.
//   - So do, in gradients of inputs, gradients of outputs times 2^32 and weights times 2^-32.
//   - If the layer's outputs are images, of few channels, gradients of inputs are short sums. Positions that meet faint
//     numbers are computed by themselves there, with sums times 2^32, which are rounded to what the right ones are.
type faint struct {
	// wait is how many tiles will not be looked at, and pause how many it was after the last without faint numbers.
	wait, pause int
	// scaled are a tile's gradients of outputs, times 2^32.
	scaled []float32
	// others are what they are multiplied with, times 2^-32: inputs or packed weights.
	others []float32
	// rows has bits where 8 gradients have faint ones among them. Nil if no position is computed by itself.
	rows []uint32
	// usual are positions of a class that are not.
	usual []position
}

const (
	// faintBits are those of the least number that is not faint, 2^-120.
	faintBits = 7 << 23
	// faintPause is how many tiles are not looked at when there have been no faint numbers for long.
	faintPause = 31
	// faintChannels is how many channels the images of short sums have at most.
	faintChannels = 4
	// faintValues is how many values are kept twice at most, so that memory stays small.
	faintValues = 256 << 10
)

// looksForFaint says that the way back through the layer looks for faint gradients.
func (s Shape) looksForFaint() bool {
	return s.Transposed && s.Weights() <= maxScaled && s.InSize()+s.OutSize() <= faintValues
}

// Scaled is how many values of a tile each goroutine keeps twice for the way back, on paths in assembly.
func (s Shape) Scaled() int {
	if !s.looksForFaint() {
		return 0
	}
	return s.InSize() + 2*s.OutSize()
}

// newFaint makes room for gradients of outputs and what they are multiplied with.
func newFaint(gradients, others int) *faint {
	return &faint{scaled: Values(gradients), others: Values(others)}
}

// newFaintOf makes room for a gather.
func newFaintOf(g *gather) *faint {
	if g.inChannels > faintChannels {
		return newFaint(g.in, len(g.weights))
	}
	positions := 0
	for i := range g.classes {
		positions = max(positions, len(g.classes[i].positions))
	}
	f := newFaint(g.in, 0)
	f.rows, f.usual = make([]uint32, g.in/block), make([]position, 0, positions)
	return f
}
