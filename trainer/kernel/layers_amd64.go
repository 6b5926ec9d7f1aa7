//go:build !purego

package kernel

import "unsafe"

// layers are the kernels of one vector width for whole layers. The functions of type gatherBlock and so on are the
// assembly for one block.
type layers struct {
	vector int // Values in a vector.

	gatherChannels int            // Channels of a block in gatherBlocks.
	gatherBlocks   [4]gatherBlock // By number of positions, 1 to 3.
	// gatherFew is for the last channels of an image, by their number; nil if there are too many.
	gatherFew        [5]fewBlock
	gatherSingle     gatherBlock // 8 positions, 1 channel.
	gatherSingleRest gatherBlock // 4 positions, 1 channel.
	// gatherSquares is for squares of 1 channel, by a block's number of squares divided by squareStep.
	gatherSquares    []squareBlock
	gatherSquares3x3 []square3x3Block
	// gatherWide is for 1 position and two blocks of channels, the second's weights next bytes after the first's; or
	// nil.
	gatherWide gatherWideBlock
	// linear are for linear layers, by the number of channels. A classifier has ten, as a rule.
	linear16, linear10, linear8 linearBlock

	lanes []laneBlocks // The largest first, the last for 1 chosen channel.

	channelOther  int                    // Other channels of a block in channelWide.
	channelWide   [4]outerByChannelBlock // By number of vectors of chosen channels, 1 to 3.
	channelSingle [4]outerByChannelBlock // The same with 1 other channel.
	channelWidest outerByChannelBlock    // 1 vector, twice as many other channels; or nil.

	// linearOuter has, by number of vectors of chosen channels, blocks of so many other channels, in the order in
	// which they are tried. The last are for one.
	linearOuter [3][]otherBlock
}

type (
	linearBlock func(y, x, weights *float32, next int, bias *float32, inputs, groups, channels int, bound float32,
		relu *float32)
	gatherWideBlock func(y, x, weights *float32, next int, bias *float32, taps *int32, tapCount int,
		positions *int32, groups, plane, channels int, bound float32, relu *float32)
	gatherBlock func(y, x, weights, bias *float32, taps *int32, tapCount int, positions *int32,
		groups, plane, channels int, bound float32, relu *float32)
	squareBlock func(y, x, weights *float32, kernelRow int, bias *float32, taps *int32, tapCount int, positions *int32,
		groups, row, outputs int, bound float32)
	square3x3Block func(y, x, weights, bias *float32, channels, plane, inRow int, positions *int32, groups, row int,
		bound float32)
	outerByLaneBlock func(totals, chosen, other *float32, pairs, counts *int32, steps, chosenPlane, otherPlane,
		row int)
	outerByChannelBlock func(totals, transposed, other *float32, pairs *int32, count, row, plane, blocks int)
)

// otherBlock is a block of so many other channels.
type otherBlock struct {
	channels int
	call     func(totals, transposed, other, bias *float32, row, blocks int)
}

// fewBlock is a block of so many positions.
type fewBlock struct {
	positions int
	call      gatherBlock
}

// laneBlocks are blocks of so many chosen channels, by number of other channels or columns, 1 to 3.
type laneBlocks struct {
	chosen  int
	all     [columnStep + 1]outerByLaneBlock
	reached [columnStep + 1]outerByLaneBlock // For steps with reached.
}

var avx512Layers = layers{
	vector:         16,
	gatherChannels: 8,
	gatherBlocks:   [4]gatherBlock{1: gather1x8AVX512, 2: gather2x8AVX512, 3: gather3x8AVX512},
	gatherFew: [5]fewBlock{
		1: {8, gather8x2AVX512}, 2: {8, gather8x2AVX512}, 3: {8, gather8x3AVX512}, 4: {6, gather6x4AVX512},
	},
	gatherSingle:     gather8x1AVX512,
	gatherSingleRest: gather4x1AVX512,
	gatherSquares:    []squareBlock{1: gather3SquaresAVX512, 2: gather6SquaresAVX512},
	gatherSquares3x3: []square3x3Block{1: gather3Squares3x3AVX512, 2: gather6Squares3x3AVX512},
	gatherWide:       gather1x16AVX512,
	linear16:         gatherLinear16AVX512,
	linear10:         gatherLinear10AVX512,
	linear8:          gatherLinear8AVX512,
	lanes: []laneBlocks{
		{
			8,
			[...]outerByLaneBlock{1: outerByLane8x1AVX512, 2: outerByLane8x2AVX512, 3: outerByLane8x3AVX512},
			[...]outerByLaneBlock{2: outerByLane8x2ReachedAVX512, 3: outerByLane8x3ReachedAVX512},
		},
		{
			4,
			[...]outerByLaneBlock{1: outerByLane4x1AVX512, 2: outerByLane4x2AVX512, 3: outerByLane4x3AVX512},
			[...]outerByLaneBlock{2: outerByLane4x2ReachedAVX512, 3: outerByLane4x3ReachedAVX512},
		},
		{
			1,
			[...]outerByLaneBlock{1: outerByLane1x1AVX512, 2: outerByLane1x2AVX512, 3: outerByLane1x3AVX512},
			[...]outerByLaneBlock{2: outerByLane1x2ReachedAVX512, 3: outerByLane1x3ReachedAVX512},
		},
	},
	channelOther: 8,
	channelWide: [4]outerByChannelBlock{
		1: outerByChannel1x8AVX512, 2: outerByChannel2x8AVX512, 3: outerByChannel3x8AVX512,
	},
	channelSingle: [4]outerByChannelBlock{
		1: outerByChannel1x1AVX512, 2: outerByChannel2x1AVX512, 3: outerByChannel3x1AVX512,
	},
	channelWidest: outerByChannel1x16AVX512,
	linearOuter: [3][]otherBlock{
		1: {{16, outerLinear1x16AVX512}, {8, outerLinear1x8AVX512}, {1, outerLinear1x1AVX512}},
		2: {
			{8, outerLinear2x8AVX512},
			{10, outerLinear2x10AVX512},
			{4, outerLinear2x4AVX512},
			{1, outerLinear2x1AVX512},
		},
	},
}

// With vectors of 8 there are two for each position or group of 16 channels, so never a single one.
var avx2Layers = layers{
	vector:           8,
	gatherChannels:   4,
	gatherBlocks:     [4]gatherBlock{2: gather2x4AVX2, 3: gather3x4AVX2},
	gatherFew:        [5]fewBlock{1: {6, gather6x2AVX2}, 2: {6, gather6x2AVX2}, 3: {4, gather4x3AVX2}},
	gatherSingle:     gather8x1AVX2,
	gatherSingleRest: gather4x1AVX2,
	gatherSquares:    []squareBlock{1: gather3SquaresAVX2},
	gatherSquares3x3: []square3x3Block{1: gather3Squares3x3AVX2},
	linear16:         gatherLinear16AVX2,
	linear10:         gatherLinear10AVX2,
	linear8:          gatherLinear8AVX2,
	lanes: []laneBlocks{
		{
			4,
			[...]outerByLaneBlock{1: outerByLane4x1AVX2, 2: outerByLane4x2AVX2, 3: outerByLane4x3AVX2},
			[...]outerByLaneBlock{2: outerByLane4x2ReachedAVX2, 3: outerByLane4x3ReachedAVX2},
		},
		{
			1,
			[...]outerByLaneBlock{1: outerByLane1x1AVX2, 2: outerByLane1x2AVX2, 3: outerByLane1x3AVX2},
			[...]outerByLaneBlock{2: outerByLane1x2ReachedAVX2, 3: outerByLane1x3ReachedAVX2},
		},
	},
	channelOther:  4,
	channelWide:   [4]outerByChannelBlock{2: outerByChannel2x4AVX2, 3: outerByChannel3x4AVX2},
	channelSingle: [4]outerByChannelBlock{2: outerByChannel2x1AVX2, 3: outerByChannel3x1AVX2},
	linearOuter: [3][]otherBlock{
		2: {
			{6, outerLinear2x6AVX2}, {5, outerLinear2x5AVX2}, {4, outerLinear2x4AVX2}, {1, outerLinear2x1AVX2},
		},
	},
}

// callTaps bounds the work of one call of assembly, in taps times groups of positions: a goroutine can't be preempted
// in it. It is some 10 microseconds.
const callTaps = 1024

// callPairs does so for the weights' gradient by channel, in pairs times blocks.
const callPairs = 64

// gather computes g block by block.
func (l *layers) gather(g *gather, own *scratch, y, x, relu []float32, bound float32) {
	plane := g.outPlane * 4
	if g.outChannels == 1 {
		l.gatherOne(g, y, x, bound)
		if relu != nil {
			reluBackwardVector(y, y, relu)
		}
		return
	}
	packed, bias := g.weights, g.bias
	if s := g.subnormals; s != nil && s.needed(x) && scaleInputsAVX2(&own.x[0], &x[0], len(x)/8) {
		defer l.gatherTiny(g, y, x, relu, bound)
		packed, bias, x = s.weights, s.bias, own.x
	}
	if g.linear {
		l.gatherLinear(g, packed, bias, y, x, relu, bound)
		return
	}
	apart := false
	if g.faint {
		packed, x, apart = balanceGather(own.faint, packed, x)
	}
	perBlock := block * g.inChannels * g.kernel
	for i := range g.classes {
		c := &g.classes[i]
		positions := c.positions
		if apart {
			positions = l.gatherFaint(g, c, own.faint, y, relu)
		}
		if len(positions) == 0 {
			continue
		}
		taps, count := firstTap(c.taps), len(c.taps)
		step := max(1, callTaps/(count+1))
		for o := 0; o < g.outChannels; o += l.gatherChannels {
			weights, out := &packed[o/block*perBlock+o%block], &y[o*g.outPlane]
			var made *float32
			if relu != nil {
				made = &relu[o*g.outPlane]
			}
			channels := min(l.gatherChannels, g.outChannels-o)
			if len(positions) == 1 && l.gatherWide != nil && g.outChannels-o > block {
				channels = min(2*block, g.outChannels-o)
				groups := max(1, min(step, (g.outChannels-o)/(2*block)))
				l.gatherWide(out, &x[0], weights, perBlock*4, &bias[o], taps, count, &positions[0].x, groups, plane,
					channels, bound, made)
				o += 2*block*groups - l.gatherChannels
				continue
			}
			at := 0
			if channels < len(l.gatherFew) && l.gatherFew[channels].call != nil {
				few := &l.gatherFew[channels]
				for at+few.positions <= len(positions) {
					groups := min((len(positions)-at)/few.positions, step)
					few.call(out, &x[0], weights, &bias[o], taps, count, &positions[at].x, groups, plane, channels,
						bound, made)
					at += few.positions * groups
				}
			}
			for at < len(positions) {
				size, groups := blocks(len(positions) - at)
				groups = min(groups, step)
				l.gatherBlocks[size](out, &x[0], weights, &bias[o], taps, count, &positions[at].x, groups,
					plane, channels, bound, made)
				at += size * groups
			}
		}
	}
	if f := own.faint; apart {
		f.settle(f.exact*faintShare >= g.outPlane/Lanes && f.exact*faintTries >= f.exact+f.inexact)
	}
}

// gatherLinear computes a g that is linear, with these weights and biases.
func (l *layers) gatherLinear(g *gather, packed, bias, y, x, relu []float32, bound float32) {
	perBlock := block * g.inChannels
	step := max(1, callTaps/(g.inChannels+1))
	for o := 0; o < g.outChannels; {
		call, most := l.linear16, 2*block
		left := g.outChannels - o
		switch {
		case left <= block:
			call, most = l.linear8, block
		case left <= 10:
			call, most = l.linear10, 10
		}
		var made *float32
		if relu != nil {
			made = &relu[o*Lanes]
		}
		channels := min(most, left)
		groups := min(step, left/channels)
		call(&y[o*Lanes], &x[0], &packed[o/block*perBlock], perBlock*4, &bias[o], g.inChannels, groups, channels, bound,
			made)
		o += channels * groups
	}
}

// gatherOne computes g for its only output channel.
func (l *layers) gatherOne(g *gather, y, x []float32, bound float32) {
	for i := range g.classes {
		c := &g.classes[i]
		taps, count := firstTap(c.taps), len(c.taps)
		step := max(1, callTaps/(count+1))
		for at := 0; at < len(c.positions); {
			first, left := &c.positions[at].x, len(c.positions)-at
			if g.squares {
				size := min(len(l.gatherSquares)-1, left/squareStep)
				groups := min(step, left/squareStep/size)
				if c.inside3x3 {
					l.gatherSquares3x3[size](&y[0], &x[0], &g.weights[0], &g.bias[0], g.inChannels, g.inPlane*4,
						g.inRow*4, first, groups, g.outRow*4, bound)
				} else {
					l.gatherSquares[size](&y[0], &x[0], &g.weights[0], g.kernelWidth*4, &g.bias[0], taps, count, first,
						groups, g.outRow*4, c.outputs, bound)
				}
				at += size * squareStep * groups
				continue
			}
			call, size := l.gatherSingle, 2*singleStep
			if left < size {
				call, size = l.gatherSingleRest, singleStep
			}
			groups := min(step, left/size)
			call(&y[0], &x[0], &g.weights[0], &g.bias[0], taps, count, first, groups, 0, 1, bound, nil)
			at += size * groups
		}
	}
}

// firstTap is the address of the taps, of which there may be none.
func firstTap(taps []tap) *int32 { return (*int32)(unsafe.Pointer(unsafe.SliceData(taps))) }

// outerByLane adds a tile to o block by block. Blocks of chosen channels come first, so that a part of the chosen tile
// stays in the first-level cache for all weights.
func (l *layers) outerByLane(o *outer, chosen, other []float32) {
	chosenPlane := o.chosen.plane()
	row := o.chosen.channels * Lanes
	for a, size := 0, 0; a < o.chosen.channels; a += l.lanes[size].chosen {
		for l.lanes[size].chosen > o.chosen.channels-a {
			size++
		}
		for i := range o.runs {
			r := &o.runs[i]
			count, otherPlane := o.other.channels, o.other.plane()
			if r.columns > 1 {
				// The row's weights, of the only other channel, lie in totals as channels would.
				count, otherPlane = r.columns, Lanes
			}
			call := &l.lanes[size].all
			if r.reached {
				call = &l.lanes[size].reached
			}
			for b, others := 0, 0; b < count; b += others {
				others, _ = blocks(count - b)
				totals := o.totals[(b*o.chosen.channels+a)*Lanes:]
				for lane := 0; lane < Lanes; lane += l.vector {
					call[others](&totals[lane], &chosen[a*chosenPlane+lane], &other[b*otherPlane+lane],
						&r.pairs.chosen, &r.counts[0], len(r.counts)/2, chosenPlane*4, otherPlane*4, row*4)
				}
			}
		}
	}
}

// outerByChannel adds a tile to o block by block. Steps of a phase, which read the same values of the other side, are
// done together, so that these and the block's chosen channels stay in the second-level cache. The channels of a block
// lie together in o.transposed: with those of others between them, they would use a part of the cache's sets alone.
func (l *layers) outerByChannel(o *outer, chosen, other []float32) {
	for a := 0; a < o.chosen.padded; {
		size, _ := blocks((o.chosen.padded - a) / l.vector)
		width := size * l.vector
		transposeVector(o.transposed[a*o.chosen.plane():], chosen[a*o.chosen.plane():],
			min(width, o.chosen.channels-a), o.chosen.plane(), width)
		a += width
	}
	plane := o.other.plane()
	for from, to := 0, 0; from < len(o.steps); from = to {
		for to < len(o.steps) && o.steps[to].phase == o.steps[from].phase {
			to++
		}
		for a := 0; a < o.chosen.padded; {
			size, _ := blocks((o.chosen.padded - a) / l.vector)
			for i := from; i < to; i++ {
				k, pairs := o.steps[i].kernel, o.steps[i].pairs
				first, count := &pairs[0].chosen, len(pairs)
				for b := 0; b < o.other.channels; {
					call, channels := l.channelSingle[size], 1
					switch left := o.other.channels - b; {
					case size == 1 && left >= 2*l.channelOther && l.channelWidest != nil:
						call, channels = l.channelWidest, 2*l.channelOther
					case left >= l.channelOther:
						call, channels = l.channelWide[size], l.channelOther
					}
					blocks := min((o.other.channels-b)/channels, max(1, callPairs/count))
					call(&o.totals[(k*o.other.channels+b)*o.chosen.padded+a], &o.transposed[a*o.chosen.plane()],
						&other[b*plane], first, count, o.chosen.padded*4, plane*4, blocks)
					b += channels * blocks
				}
			}
			a += size * l.vector
		}
	}
}

// outerLinear adds a tile to an o that is linear, and, unless bias is nil, the other tile to bias: both go through the
// first-level cache once.
func (l *layers) outerLinear(o *outer, bias, chosen, other []float32) {
	for a := 0; a < o.chosen.padded; {
		vectors := min(2, (o.chosen.padded-a)/l.vector)
		width := vectors * l.vector
		transposed := o.transposed[a*Lanes:]
		transposeVector(transposed, chosen[a*Lanes:], min(width, o.chosen.channels-a), Lanes, width)
		for b := 0; b < o.other.channels; {
			left := o.other.channels - b
			block := nextBlock(l.linearOuter[vectors], left)
			blocks := left / block.channels
			if left%block.channels != 0 {
				blocks = max(1, blocks-1) // What is left then may be better done in others.
			}
			blocks = min(blocks, callPairs)
			var sums *float32
			if bias != nil {
				sums = &bias[b*Lanes]
			}
			block.call(&o.totals[b*o.chosen.padded+a], &transposed[0], &other[b*Lanes], sums, o.chosen.padded*4, blocks)
			b += block.channels * blocks
		}
		bias = nil
		a += width
	}
}

// nextBlock chooses the block for the next of so many channels: the first that leaves none, or is of several channels
// and leaves enough for another such; else the first that is not larger.
func nextBlock(sizes []otherBlock, left int) otherBlock {
	least := sizes[len(sizes)-2].channels
	for _, size := range sizes {
		if rest := left - size.channels; rest == 0 || size.channels > 1 && rest >= least {
			return size
		}
	}
	for _, size := range sizes {
		if size.channels <= left {
			return size
		}
	}
	panic("kernel: no block for one channel")
}
