package kernel

// A multiply-add with a subnormal operand, or a subnormal sum, takes processors over a hundred times as long as others,
// and training has many. A unit that is zero for all images has no gradient, so that weight decay makes its weights
// smaller and smaller, down to subnormal ones, where they stay. Subnormals keep such weights away from multiply-adds in
// the gathers of linear layers, and leave all bits as they are:
//
//   - With weights times 2^32 and inputs times 2^-32, all products are the same numbers, and the weights are normal.
//     This holds as long as scaled inputs are normal too, or zero: if not, the tile is done without.
//   - Output channels that have small weights alone, whose sums may be subnormal, are done one by one, as multiples of
//     the least number. On the way back most of these belong to units that are zero, and nobody reads the result: see
//     BackwardInputOfReLU.
type subnormals struct {
	// found says that there are subnormal weights, and no large ones. Without, nothing else here is in use.
	found bool
	// weights are the gather's, scaled, with zeros for the tiny channels.
	weights []float32
	// tiny are the output channels that are done one by one.
	tiny []int
}

// scratch is what a goroutine needs beside.
type scratch struct {
	// x is the input, scaled.
	x []float32
	// read says of each output channel whether it is needed: all bits or none.
	read []uint32
}

// newScratch returns what is enough for the gathers that there are.
func newScratch(gathers ...*gather) (s scratch) {
	in, channels := 0, 0
	for _, g := range gathers {
		if g != nil && g.subnormals != nil {
			in, channels = max(in, g.in), max(channels, len(g.bias))
		}
	}
	return scratch{x: Values(in), read: make([]uint32, channels)}
}

const (
	// maxScaled is how many weights are kept twice, so that memory and the time to look at weights stay small.
	maxScaled = 32 << 10
	// What least gives for less than the least normal number; for what makes subnormal sums with usual gradients, below
	// 2^-90; and what most gives for less than 2^-30, and for 2^64, which is as far as weights are scaled. A bias from
	// 2^-100 on keeps sums from being subnormal.
	leastNormal = 1<<23 - 1
	leastUsual  = 37<<23 - 1
	mostTiny    = 97 << 23
	mostBias    = 27 << 23
	mostScaled  = 191 << 23
)

// newSubnormals returns those of a gather, nil for one that does without. What looks like a linear layer may meet
// nothing but padding.
func newSubnormals(g *gather, rows, columns axis) *subnormals {
	weights := len(g.weights)
	linear := g.kernel*rows.in*columns.in*rows.out*columns.out == 1 && len(g.classes[0].taps) == g.inChannels
	if g.outChannels == 1 || !linear || weights > maxScaled {
		return nil
	}
	return &subnormals{weights: Values(weights), tiny: make([]int, 0, len(g.bias))}
}
