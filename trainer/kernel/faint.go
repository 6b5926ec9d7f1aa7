package kernel

// Faint numbers are so small that their products with weights may be subnormal. A sigmoid's output that should be 0, as
// on the margin of images of digits, soon has such a gradient, and what comes of that is faint too: a step of the
// autoencoder took twice as long with them. Three things keep faint gradients away from the multiply-adds of transposed
// convolutions, and leave all bits as they are:
//
//   - In gradients of weights, gradients of outputs times 2^32 and inputs times 2^-32 have the same products. This
//     holds as long as scaled inputs are normal, or zero, and not large. Few sums are subnormal, as they are long.
//   - So do, in gradients of inputs, gradients of outputs times 2^32 and weights times 2^-32.
//   - If the layer's outputs are images, of few channels, gradients of inputs are short sums. Positions that have a
//     lane whose sum begins with faint numbers are computed by themselves there, with sums times 2^32, which are
//     rounded to what the right ones are. That takes ten times as long as usual, so faint numbers after others don't
//     count.
type faint struct {
	// wait is how many tiles will not be looked at, and pause how many it was after the last that was in vain.
	wait, pause int
	// scaled are a tile's gradients of outputs, times 2^32.
	scaled []float32
	// others are what they are multiplied with, times 2^-32: inputs or packed weights.
	others []float32
	// small and some have a bit for each of 8 gradients that is faint, and for each that is not zero. Nil if no
	// position is computed by itself.
	small, some []uint32
	// usual are positions of a class that are not.
	usual []position
	// exact and inexact are how many positions of a tile were computed by themselves, and how many of them in vain.
	exact, inexact int
}

const (
	// faintBits are those of the least number that is not faint, 2^-123: most weights are from 1/8 to 1.
	faintBits = 4 << 23
	// faintPause is how many tiles are not looked at when it has been in vain for long.
	faintPause = 31
	// faintShare is how many positions a tile has, at most, for one that is computed by itself, or it was in vain.
	faintShare = 16
	// faintTries is how many positions are computed by themselves, at most, for one that is exact, or it was in vain:
	// that one saves at least two subnormal sums for each channel.
	faintTries = 4
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
	f := newFaint(g.in, len(g.weights))
	if g.inChannels > faintChannels {
		return f
	}
	positions := 0
	for i := range g.classes {
		positions = max(positions, len(g.classes[i].positions))
	}
	f.small, f.some = make([]uint32, g.in/block), make([]uint32, g.in/block)
	f.usual = make([]position, 0, positions)
	return f
}
