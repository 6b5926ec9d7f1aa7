package kernel

// A multiply-add with a subnormal operand, or a subnormal sum, takes processors over a hundred times as long as others,
// and training has many. A unit that is zero for all images has no gradient, so that weight decay makes its weights
// smaller and smaller, down to subnormal ones, where they stay. Subnormals keep such weights away from multiply-adds in
// the gathers of linear layers, and leave all bits as they are:
//
//   - With weights times 2^32 and inputs times 2^-32, all products are the same numbers, and the weights are normal.
//     This holds as long as scaled inputs are normal too, or zero: if not, the tile is done without.
//   - Sums of tiny products are subnormal themselves. On the way back there are such sums for the units that are
//     zero, and nobody reads them: see BackwardInputOfReLU.
type subnormals struct {
	// found says that there are subnormal weights, and no large ones. Without, nothing else here is in use.
	found bool
	// weights are the gather's, scaled.
	weights []float32
	// x is the input, scaled.
	x []float32

	// The rest is for a gather that goes back. Visible are the weights with zeros for hidden output channels.
	visible []float32
	// By output channel, all bits or none: whether its sums may be subnormal, whether it is needed, and whether it is
	// hidden.
	tiny, positive, hidden []uint32
}

const (
	// maxScaled is how many weights are kept twice, so that memory and the time to look at weights stay small.
	maxScaled = 32 << 10
	// What least gives for less than the least normal number; for what makes subnormal sums with usual gradients, below
	// 2^-90; and what most gives for 2^64, which is as far as weights are scaled.
	leastNormal = 1<<23 - 1
	leastUsual  = 37<<23 - 1
	mostScaled  = 191 << 23
)

// newSubnormals returns those of a gather, nil for one that does without.
func newSubnormals(g *gather, rows, columns axis, back bool) *subnormals {
	weights := len(g.weights)
	if g.outChannels == 1 || g.kernel*rows.in*columns.in*rows.out*columns.out != 1 || weights > maxScaled {
		return nil
	}
	s := &subnormals{weights: Values(weights), x: Values(g.in)}
	if back {
		channels := len(g.bias)
		s.visible = Values(weights)
		s.tiny, s.positive, s.hidden = make([]uint32, channels), make([]uint32, channels), make([]uint32, channels)
	}
	return s
}
