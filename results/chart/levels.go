package chart

import (
	"encoding/binary"
	"math"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// mostRanged is of how many values it is found out what most of them are: evenly of all curves.
	mostRanged = 1 << 15
	// unusual is the part of the values that may be out of range on the side that is not the better one.
	unusual = 0.02
)

// levels divides a range of values.
type levels struct {
	low, high   float64
	n           uint32
	logarithmic bool
	// from and by are what values are counted in: themselves, or their logarithms.
	from, by float64
}

// newLevels returns levels for columns of values, each of which has a curve. A value that is better than all others is in
// range.
func newLevels(n uint32, logarithmic bool, keep trellisv1.Keep, curves [][]float64) levels {
	l := levels{low: math.Inf(1), high: math.Inf(-1), n: n, logarithmic: logarithmic}
	values := 0
	for _, curve := range curves {
		for _, value := range curve {
			if l.has(value) {
				l.low, l.high = min(l.low, value), max(l.high, value)
				values++
			}
		}
	}
	if values > 0 {
		var some []float64
		every, at := (values+mostRanged-1)/mostRanged, 0
		for _, curve := range curves {
			for _, value := range curve {
				if !l.has(value) {
					continue
				}
				if at%every == 0 {
					some = append(some, value)
				}
				at++
			}
		}
		slices.Sort(some)
		if out := int(unusual * float64(len(some))); keep == trellisv1.Keep_KEEP_HIGHEST {
			l.low = some[out]
		} else {
			l.high = some[len(some)-1-out]
		}
	} else {
		l.low, l.high = 1, 1
	}
	l.from, l.by = l.low, (l.high-l.low)/float64(n)
	if logarithmic {
		l.from, l.by = math.Log(l.low), (math.Log(l.high)-math.Log(l.low))/float64(n)
	}
	return l
}

func (l *levels) has(value float64) bool {
	return !math.IsNaN(value) && !math.IsInf(value, 0) && (!l.logarithmic || value > 0)
}

// of returns the level of a value, from 1, or 0 if it has none.
func (l *levels) of(value float64) uint32 {
	if !l.has(value) {
		return 0
	}
	if l.logarithmic {
		value = math.Log(value)
	}
	switch steps := (value - l.from) / l.by; {
	case !(steps >= 1): // All values are the same, or this one is below the others.
		return 1
	case steps >= float64(l.n):
		return l.n
	default:
		return uint32(steps) + 1
	}
}

// appendCurve appends the levels of a curve, as their differences.
func (l *levels) appendCurve(data []byte, curve []float64) []byte {
	before := int64(0)
	for _, value := range curve {
		level := int64(l.of(value))
		data = binary.AppendVarint(data, level-before)
		before = level
	}
	return data
}
