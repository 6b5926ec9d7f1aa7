package kernel

import (
	"math"
	"slices"
	"sync"
	"time"
)

// A multiply-add with a subnormal operand, or a subnormal sum, takes processors over a hundred times as long as others,
// and training has many. A unit that is zero for all images has no gradient, so that weight decay makes its weights
// smaller and smaller, down to subnormal ones, where they stay. Subnormals keep such weights away from multiply-adds in
// the gathers of linear layers, and leave all bits as they are:
//
//   - Where all inputs that meet subnormal weights are zero, as units without a gradient are, there is nothing to do: a
//     product with zero takes no longer than others.
//   - With weights times 2^32 and inputs times 2^-32, all products are the same numbers, and the weights are normal.
//     This holds as long as scaled inputs are normal too, or zero, and not large: if not, the tile is done without.
//   - Output channels that have small weights alone, whose sums may be subnormal, or a subnormal bias, are scaled
//     further. Such sums are not the same numbers, but show where the right ones are negative, which a ReLU makes zero:
//     as most of these channels belong to units that are zero for all images, that is nearly everywhere. On the way
//     back, such units have no gradient. What is left is done one by one, small weights as multiples of the least
//     number.
type subnormals struct {
	// found says that there are subnormal weights or tiny channels, and no large weights. Without, nothing else here is
	// in use.
	found bool
	// weights and bias are the gather's, scaled: those of the tiny channels as tinyBias says.
	weights, bias []float32
	// tiny are the output channels that have small weights alone, or a subnormal bias.
	tiny []tinyChannel
	// idle says where inputs begin that meet subnormal weights, if there are no tiny channels. The rows of weights that
	// have these have bits in rows.
	idle []int32
	rows []uint32
}

// tinyChannel is the number of a channel, and says that it has small weights alone.
type tinyChannel struct {
	channel int
	small   bool
}

// scratch is what a goroutine needs beside: room for the input, scaled, and for faint gradients; nil if it needs none.
type scratch struct {
	x     []float32
	faint *faint
}

// newScratch returns what is enough for the gathers that there are.
func newScratch(gathers ...*gather) (s scratch) {
	in := 0
	for _, g := range gathers {
		switch {
		case g == nil:
		case g.subnormals != nil:
			in = max(in, g.in)
		case g.faint:
			s.faint = newFaintOf(g)
		}
	}
	s.x = Values(in)
	return s
}

const (
	// maxScaled is how many weights are kept twice, so that memory and the time to look at weights stay small.
	maxScaled = 32 << 10
	// Limits of the bits that leastAVX2 gives. The least are below leastNormal where a weight is subnormal, and below
	// leastUsual where one is under 2^-90: with usual gradients, it makes subnormal sums. The most are below mostTiny
	// where all weights are under 2^-30. Weights above 2^64, mostScaled, are not scaled; nor, beside a subnormal bias,
	// those from 2^10, mostFaint, on. A bias from 2^-100, mostBias, on keeps sums from being subnormal.
	leastNormal = 1<<23 - 1
	leastUsual  = 37<<23 - 1
	mostTiny    = 97 << 23
	mostBias    = 27 << 23
	mostScaled  = 191 << 23
	mostFaint   = 137 << 23
	// tinyScale is what sums of tiny channels are scaled by, and mostInput the largest input that is.
	tinyScale = 1 << 64
	mostInput = 1 << 10
)

// slowSubnormals says whether multiply-adds whose sums are subnormal take this processor much longer than others: on
// Intel's, it is over a hundred cycles, on AMD's Zen 4 none. If not, nothing keeps subnormal numbers away from them;
// the results are the same. It is measured once, for less than a millisecond. Tests replace it.
var slowSubnormals = sync.OnceValue(func() bool {
	if best.findSubnormals == nil {
		return false
	}
	const inputs, tries = 64, 5
	rows, columns := Linear(inputs, block).axes()
	g := newGather(best.vector, best.together, inputs, block, rows, columns)
	y := Values(g.out)
	fastest := func(value float32) time.Duration {
		x := slices.Repeat([]float32{value}, g.in)
		g.setWeights(best, x[:len(g.weights)], nil)
		took := time.Duration(math.MaxInt64)
		for range tries {
			start := time.Now()
			best.gather(g, &scratch{}, y, x, nil, float32(math.Inf(-1)))
			took = min(took, time.Since(start)) // Others may use the core.
		}
		return took
	}
	return fastest(0x1p-70) > 4*fastest(1)
})

// newSubnormals returns those of a gather, nil for one that does without, as all do where subnormals are not slow.
func newSubnormals(g *gather) *subnormals {
	weights := len(g.weights)
	if !g.linear || weights > maxScaled || !slowSubnormals() {
		return nil
	}
	return &subnormals{
		weights: Values(weights), bias: Values(len(g.bias)), tiny: make([]tinyChannel, 0, len(g.bias)),
		idle: make([]int32, 0, g.inChannels), rows: make([]uint32, g.inChannels),
	}
}
