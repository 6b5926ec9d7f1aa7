//go:build !purego

package kernel

import "math"

// findSubnormals looks at weights that were packed.
func findSubnormals(g *gather) {
	s := g.subnormals
	s.found, s.tiny, s.idle = false, s.tiny[:0], s.idle[:0]
	large := false
	perBlock := block * g.inChannels
	copy(s.bias, g.bias)
	for o := 0; o < g.outChannels; o += block {
		var least, most [block]uint32
		leastAVX2(&least[0], &most[0], &g.weights[o/block*perBlock], g.inChannels)
		for i, bits := range least {
			s.found = s.found || bits < leastNormal
			large = large || most[i] > mostScaled
			bias := math.Float32bits(g.bias[o+i]) &^ (1 << 31)
			small := bits < leastUsual && most[i] < mostTiny && bias < mostBias
			if small || bias-1 < leastNormal && most[i] < mostFaint {
				s.tiny = append(s.tiny, tinyChannel{o + i, small})
				s.bias[o+i] = tinyBias(g.bias[o+i], math.Float32frombits(most[i]), g.inChannels)
			}
		}
	}
	if s.found = (s.found || len(s.tiny) > 0) && !large; !s.found {
		return
	}
	if len(s.tiny) == 0 {
		s.findIdle(g)
	}
	scaleWeightsAVX2(&s.weights[0], &g.weights[0], len(g.weights)/block)
	for i := 0; i < len(s.tiny); {
		factors := [block]float32{1, 1, 1, 1, 1, 1, 1, 1}
		o := s.tiny[i].channel / block
		for ; i < len(s.tiny) && s.tiny[i].channel/block == o; i++ {
			factors[s.tiny[i].channel%block] = tinyScale
		}
		scaleColumnsAVX2(&s.weights[o*perBlock], &factors[0], g.inChannels)
	}
}

// findIdle lists the inputs that meet subnormal weights.
func (s *subnormals) findIdle(g *gather) {
	clear(s.rows)
	for o := 0; o < g.outChannels; o += block {
		smallRowsAVX2(&s.rows[0], &g.weights[o*g.inChannels], leastNormal-1, g.inChannels)
	}
	for i, bits := range s.rows {
		if bits != 0 {
			s.idle = append(s.idle, int32(i*Lanes))
		}
	}
}

// needed says whether x has to be scaled.
func (s *subnormals) needed(x []float32) bool {
	return s.found && (len(s.idle) == 0 || !zeroRowsAVX2(&x[0], &s.idle[0], len(s.idle)))
}

// tinyBias is the scaled bias of a tiny channel of so many inputs, whose largest weight is most, plus more than its sum
// can be wrong by without counting in quanta: half a quantum or 2^-24 of what has been summed for each addition, of
// that sum and of the right one.
func tinyBias(bias, most float32, inputs int) float32 {
	n, b := float64(inputs), float64(bias)
	return float32(tinyScale * (b + n*(0x1p-150+0x1p-22*(math.Abs(b)+n*mostInput*float64(most)))))
}

// gatherTiny computes the tiny channels. What y has of them are scaled sums, from the scaled bias on: where the ReLU
// has made it zero, the right sum is negative. With relu, y is zero where that has no positive value.
func (l *layers) gatherTiny(g *gather, y, x, relu []float32, bound float32) {
	s := g.subnormals
	perBlock := block * g.inChannels
	done := 0 // Channels up to here are right: their zeros may be -0.
	for _, tiny := range s.tiny {
		o := tiny.channel
		if o < done {
			continue
		}
		to := (*[Lanes]float32)(y[o*g.outPlane:])
		decides := to[:]
		if relu != nil {
			decides = relu[o*g.outPlane:][:Lanes]
		}
		if relu != nil || bound == 0 {
			if !positiveAVX2(&decides[0]) {
				clear(to[:]) // The scaled sum may be -0, where the right one is negative.
				continue
			}
		}
		if !tiny.small {
			done = l.gatherPlain(g, y, x, o, bound)
			continue
		}
		at := o/block*perBlock + o%block
		if !gatherTinyAVX2(&to[0], &x[0], &g.weights[at], &g.bias[o], g.inChannels, bound) {
			sumTaps(to, g.bias[o], g.weights[at:], x, 0, g.classes[0].taps)
			for lane, sum := range to {
				if bound > sum { // False for a NaN, which stays.
					to[lane] = bound
				}
			}
		}
		if relu != nil {
			reluBackwardVector(to[:], to[:], decides)
		}
	}
}

// gatherPlain computes the block that has a channel of a linear layer, without scaling, and returns where the next one
// begins. It overwrites the block's other channels with the right sums, which those that are not tiny have already. It
// knows no relu: only a channel with a subnormal bias comes here, and the way back has no bias.
func (l *layers) gatherPlain(g *gather, y, x []float32, o int, bound float32) int {
	o -= o % l.gatherChannels
	c := &g.classes[0]
	weights := &g.weights[o/block*block*g.inChannels+o%block]
	channels := min(l.gatherChannels, g.outChannels-o)
	l.gatherBlocks[len(c.positions)](&y[o*g.outPlane], &x[0], weights, &g.bias[o], firstTap(c.taps), len(c.taps),
		&c.positions[0].x, 1, g.outPlane*4, channels, bound, nil)
	return o + channels
}

// waits says whether a tile of gradients is not to be looked at.
func (f *faint) waits() bool {
	if f.wait == 0 {
		return false
	}
	f.wait--
	return true
}

// settle takes whether it was of use to look at a tile: if not, fewer of the next are.
func (f *faint) settle(useful bool) {
	if useful {
		f.pause = 0
		return
	}
	f.pause = min(2*f.pause+1, faintPause)
	f.wait = f.pause
}

// found says whether a tile of gradients has faint numbers, of which all fit when scaled, and scales it.
func (f *faint) found(dy []float32) bool {
	found, large := false, false
	for from := 0; from < len(dy); from += callValues {
		var least, most [block]uint32
		leastAVX2(&least[0], &most[0], &dy[from], min(callValues, len(dy)-from)/block)
		for i := range least {
			found = found || least[i] < faintBits-1
			large = large || most[i] >= mostScaled
		}
	}
	if !found || large {
		return false
	}
	for from := 0; from < len(dy); from += callValues {
		scaleWeightsAVX2(&f.scaled[from], &dy[from], min(callValues, len(dy)-from)/block)
	}
	return true
}

// scaleOthers scales what gradients are multiplied with, and says whether that is exact.
func (f *faint) scaleOthers(values []float32) bool {
	for from := 0; from < len(values); from += callValues {
		if !scaleInputsAVX2(&f.others[from], &values[from], min(callValues, len(values)-from)/block) {
			return false
		}
	}
	return true
}

// balance returns gradients and inputs with the same products, of which none has a faint factor, if that is possible.
func balance(f *faint, dy, x []float32) (scaled, inputs []float32) {
	if f.waits() {
		return dy, x
	}
	useful := f.found(dy) && f.scaleOthers(x)
	if f.settle(useful); !useful {
		return dy, x
	}
	return f.scaled, f.others
}

// balanceGather returns weights and gradients likewise, and whether positions are computed by themselves. If so, settle
// has yet to be called.
func balanceGather(f *faint, weights, dy []float32) (scaled, gradients []float32, apart bool) {
	if f.waits() {
		return weights, dy, false
	}
	useful := f.found(dy)
	if apart = useful && f.some != nil; apart {
		f.mark(dy)
	}
	if useful = useful && f.scaleOthers(weights); useful {
		weights, dy = f.others, f.scaled
	}
	if !apart {
		f.settle(useful)
	}
	return weights, dy, apart
}

// mark looks which gradients are faint, and which are not zero.
func (f *faint) mark(dy []float32) {
	f.exact, f.inexact = 0, 0
	clear(f.small)
	clear(f.some)
	for from := 0; from < len(dy); from += callValues {
		count := min(callValues, len(dy)-from) / block
		smallRowsAVX2(&f.small[from/block], &dy[from], faintBits-2, count)
		smallRowsAVX2(&f.some[from/block], &dy[from], 1<<31-1, count)
	}
}

// gatherFaint computes the positions of a class whose sums begin with faint numbers, and returns the others.
func (l *layers) gatherFaint(g *gather, c *class, f *faint, y, relu []float32) []position {
	f.usual = f.usual[:0]
	entries := Lanes / l.vector // Of a position.
	for i := 0; i < len(c.positions); i += entries {
		p := c.positions[i]
		if f.begins(c.taps, p) {
			if gatherFaintPosition(g, c, f, p, y, relu) {
				f.exact++
				continue
			}
			f.inexact++
		}
		f.usual = append(f.usual, c.positions[i:i+entries]...)
	}
	return f.usual
}

// gatherFaintPosition computes a position, and says whether it is exact.
func gatherFaintPosition(g *gather, c *class, f *faint, p position, y, relu []float32) bool {
	exact := true
	for o := 0; o < g.outChannels; o += block {
		at := o*g.outPlane + int(p.y)
		var made *float32
		if relu != nil {
			made = &relu[at]
		}
		exact = exact && gatherFaintAVX2(&y[at], &f.scaled[p.x], &g.weights[o*g.inChannels*g.kernel], firstTap(c.taps),
			len(c.taps), g.outPlane*4, min(block, g.outChannels-o), made)
	}
	return exact
}

// begins says whether a position has a lane whose first number that is not zero is faint.
func (f *faint) begins(taps []tap, p position) bool {
	for half := range Lanes / block {
		zero := uint32(1<<block - 1) // Lanes that have nothing but zeros so far.
		for _, t := range taps {
			row := int(p.x+t.x)/block + half
			if f.small[row]&zero != 0 {
				return true
			}
			if zero &^= f.some[row]; zero == 0 {
				break
			}
		}
	}
	return false
}
