//go:build !purego

package kernel

import "math"

// findSubnormals looks at weights that were packed.
func findSubnormals(g *gather) {
	s := g.subnormals
	s.found, s.tiny = false, s.tiny[:0]
	large := false
	perBlock := block * g.inChannels
	for o := 0; o < g.outChannels; o += block {
		var least, most [block]uint32
		leastAVX2(&least[0], &most[0], &g.weights[o/block*perBlock], g.inChannels)
		for i, bits := range least {
			s.found = s.found || bits < leastNormal
			large = large || most[i] > mostScaled
			bias := math.Float32bits(g.bias[o+i]) &^ (1 << 31)
			if bits < leastUsual && most[i] < mostTiny && bias < mostBias {
				s.tiny = append(s.tiny, o+i)
			}
		}
	}
	if s.found = s.found && !large; !s.found {
		return
	}
	scaleWeightsAVX2(&s.weights[0], &g.weights[0], len(g.weights)/block)
	for i := 0; i < len(s.tiny); {
		var hidden [block]uint32
		o := s.tiny[i] / block
		for ; i < len(s.tiny) && s.tiny[i]/block == o; i++ {
			hidden[s.tiny[i]%block] = 1<<32 - 1
		}
		hideAVX2(&s.weights[o*perBlock], &hidden[0], g.inChannels)
	}
}

// gatherTiny computes the tiny channels, all or those for which read has a positive value.
func gatherTiny(g *gather, own *scratch, y, x, read []float32, bound float32) {
	s := g.subnormals
	if len(s.tiny) == 0 {
		return
	}
	if read != nil {
		positiveAVX2(&own.read[0], &read[0], len(read)/Lanes)
	}
	perBlock := block * g.inChannels
	for _, o := range s.tiny {
		if read != nil && own.read[o] == 0 {
			continue
		}
		at := o/block*perBlock + o%block
		to := y[o*g.outPlane:][:Lanes]
		if gatherTinyAVX2(&to[0], &x[0], &g.weights[at], &g.bias[o], g.inChannels, bound) {
			continue
		}
		sumTaps((*[Lanes]float32)(to), g.bias[o], g.weights[at:], x, 0, g.classes[0].taps)
		for lane, sum := range to {
			if bound > sum { // False for a NaN, which stays.
				to[lane] = bound
			}
		}
	}
}
