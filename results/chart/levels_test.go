//go:build !race

package chart

import (
	"encoding/binary"
	"math"
	"testing"

	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
)

// TestLevels: the levels of curves are those whose values these are. So whoever counts in levels which curves pass between two
// of them counts the same as by values.
func TestLevels(tb *testing.T) {
	rapid.Check(tb, func(t *rapid.T) {
		d := draw(t, drawSpec(t))
		request := &trellisv1.GetCurvesRequest{
			Study: "s", Filter: drawFilter(t), Points: rapid.Uint32Range(0, 4).Draw(t, "points"),
			Keep: trellisv1.Keep(rapid.IntRange(0, 3).Draw(t, "keep")),
		}
		plain, err := Curves(d.Snapshot(), request)
		ok(t, err)
		n := rapid.Uint32Range(1, 2000).Draw(t, "levels")
		request.Levels, request.Logarithmic = n, rapid.Bool().Draw(t, "logarithmic")
		got, err := Curves(d.Snapshot(), request)
		ok(t, err)
		values, data := readFloat32s(plain.Values), got.Levels
		if got.Values != nil {
			t.Fatal("there are values too")
		}
		edge := func(l int64) float64 {
			if share := float64(l) / float64(n); request.Logarithmic {
				return got.Low * math.Pow(got.High/got.Low, share)
			} else {
				return got.Low + share*(got.High-got.Low)
			}
		}
		best := math.NaN()
		for i := range got.Trials {
			level := int64(0)
			for range (got.Epochs[i] + got.EpochsPerPoint - 1) / got.EpochsPerPoint {
				by, size := binary.Varint(data)
				if size <= 0 {
					t.Fatal("the levels end early")
				}
				level += by
				value := float64(values[0])
				data, values = data[size:], values[1:]
				if math.IsNaN(value) || request.Logarithmic && value <= 0 {
					if level != 0 {
						t.Fatalf("%v has level %d", value, level)
					}
					continue
				}
				if math.IsNaN(best) || (value > best) == (got.Keep == trellisv1.Keep_KEEP_HIGHEST) {
					best = value
				}
				// The values are rounded to float32, the levels are not.
				slack := 1e-6 * (math.Abs(value) + math.Abs(got.Low) + math.Abs(got.High))
				if level < 1 || level > int64(n) || level > 1 && value < edge(level-1)-slack ||
					level < int64(n) && got.High > got.Low && value > edge(level)+slack {
					t.Fatalf("%v has level %d of %d from %v to %v", value, level, n, got.Low, got.High)
				}
			}
		}
		if len(data) > 0 || len(values) > 0 {
			t.Fatalf("%d bytes and %d values are left", len(data), len(values))
		}
		if slack := 1e-6 * math.Abs(best); best < got.Low-slack || best > got.High+slack {
			t.Fatalf("the best value %v is not from %v to %v", best, got.Low, got.High)
		}
	})
}

// TestLevelsOfMost: what diverges is out of range, and the others have the levels.
func TestLevelsOfMost(t *testing.T) {
	curve := make([]float64, 1000)
	for i := range curve {
		curve[i] = 1 + float64(i)/1000
	}
	curve[0], curve[1], curve[2] = 1e9, math.Inf(1), math.NaN()
	l := newLevels(100, false, trellisv1.Keep_KEEP_LOWEST, [][]float64{curve, nil})
	if l.low != 1.003 || l.high < 1.9 || l.high > 2 || l.of(1e9) != 100 || l.of(curve[1]) != 0 || l.of(curve[2]) != 0 {
		t.Fatalf("%+v", l)
	}
	curve[0] = -1e9
	l = newLevels(100, false, trellisv1.Keep_KEEP_HIGHEST, [][]float64{curve})
	if l.high != 1.999 || l.low < 1 || l.low > 1.1 || l.of(-1e9) != 1 {
		t.Fatalf("%+v", l)
	}
	none := newLevels(100, true, trellisv1.Keep_KEEP_LOWEST, [][]float64{{-1, 0}})
	if none.of(-1) != 0 || none.low != 1 || none.high != 1 {
		t.Fatalf("%+v", none)
	}
}
