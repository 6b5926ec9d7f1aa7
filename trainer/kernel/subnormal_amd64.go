//go:build !purego

package kernel

import "slices"

// findSubnormals looks at weights that were packed.
func findSubnormals(g *gather) {
	s := g.subnormals
	s.found = false
	large := false
	perBlock := block * g.inChannels
	for at := 0; at < len(g.weights); at += perBlock {
		var least, most [block]uint32
		leastAVX2(&least[0], &most[0], &g.weights[at], g.inChannels)
		for i, bits := range least {
			s.found = s.found || bits < leastNormal
			large = large || most[i] > mostScaled
			if s.tiny != nil {
				s.tiny[at/g.inChannels+i] = 0
				if bits < leastUsual {
					s.tiny[at/g.inChannels+i] = 1<<32 - 1
				}
			}
		}
	}
	if s.found = s.found && !large; !s.found {
		return
	}
	scaleWeightsAVX2(&s.weights[0], &g.weights[0], len(g.weights)/block)
	clear(s.hidden)
	copy(s.visible, s.weights)
}

// hide hides output channels that may have subnormal sums and of which y has no positive value. Without y it hides
// none.
func hide(g *gather, y []float32) {
	s := g.subnormals
	if y == nil {
		if slices.ContainsFunc(s.hidden, func(hidden uint32) bool { return hidden != 0 }) {
			clear(s.hidden)
			copy(s.visible, s.weights)
		}
		return
	}
	positiveAVX2(&s.positive[0], &y[0], len(y)/Lanes)
	perBlock := block * g.inChannels
	for o := 0; o < len(s.tiny); o += block {
		changed := uint32(0)
		tiny, positive := (*[block]uint32)(s.tiny[o:]), (*[block]uint32)(s.positive[o:])
		hidden := (*[block]uint32)(s.hidden[o:])
		for i := range hidden {
			now := tiny[i] &^ positive[i]
			changed |= now ^ hidden[i]
			hidden[i] = now
		}
		if changed != 0 {
			at := o / block * perBlock
			hideAVX2(&s.visible[at], &s.weights[at], &hidden[0], g.inChannels)
		}
	}
}

// scaled returns the weights and the input to compute g with.
func scaled(g *gather, x []float32) (weights, input []float32) {
	s := g.subnormals
	if s == nil || !s.found || !scaleInputsAVX2(&s.x[0], &x[0], len(x)/8) {
		return g.weights, x
	}
	if s.visible != nil {
		return s.visible, s.x
	}
	return s.weights, s.x
}
