package packed

import (
	"bytes"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// floats are like losses, or anything.
var floats = rapid.OneOf(
	rapid.Map(rapid.Float64Range(0, 1), func(f float64) float64 { return 0.05 + f/100 }),
	rapid.Map(rapid.Uint64(), math.Float64frombits),
	rapid.SampledFrom([]float64{0, math.Copysign(0, -1), math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64}),
)

var seconds = rapid.OneOf(
	rapid.Map(rapid.Uint32Range(0, 5000), func(n uint32) float32 { return float32(float64(n) / 1e9) }),
	rapid.Map(rapid.Float64Range(0, 1000), func(s float64) float32 { return float32(s) }),
	rapid.Map(rapid.Uint32(), math.Float32frombits),
)

// What is written is read again, bit for bit, whatever follows it, and cut off data is refused.
func TestRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		few := rapid.SliceOfN(floats, 0, 40).Draw(t, "floats")
		other := rapid.SliceOfN(floats, 0, 40).Draw(t, "other")
		times := rapid.SliceOfN(seconds, 0, 40).Draw(t, "seconds")
		data := AppendFloats([]byte("head"), few, other)
		middle := len(data)
		data = AppendSeconds(data, times)
		whole := append(slices.Clone(data), "tail"...)
		got, rest, ok := Floats(nil, whole[4:], len(few), other)
		if !ok || !slices.EqualFunc(got, few, func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }) {
			t.Fatalf("%v, %v, want %v", got, ok, few)
		}
		if !bytes.Equal(rest, whole[middle:]) {
			t.Fatalf("%d bytes follow, want %d", len(rest), len(whole)-middle)
		}
		read, rest, ok := Seconds(nil, rest, len(times))
		if !ok || string(rest) != "tail" ||
			!slices.EqualFunc(read, times, func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }) {
			t.Fatalf("%v, %v, %q, want %v", read, ok, rest, times)
		}
		if cut := rapid.IntRange(4, middle).Draw(t, "cut"); cut < middle {
			if _, _, ok := Floats(nil, data[4:cut:cut], len(few), other); ok {
				t.Fatal("cut off floats are read")
			}
		}
		if cut := rapid.IntRange(middle, len(data)).Draw(t, "cut seconds"); cut < len(data) {
			if _, _, ok := Seconds(nil, data[middle:cut:cut], len(times)); ok {
				t.Fatal("cut off times are read")
			}
		}
	})
}

// Anything is read as some numbers or refused, and never takes much more memory than it has bytes.
func TestForged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "data")
		n := rapid.OneOf(rapid.IntRange(0, 100), rapid.Just(math.MaxInt)).Draw(t, "n")
		other := make([]float64, rapid.IntRange(0, 100).Draw(t, "other"))
		if got, _, ok := Floats(nil, data, n, other); ok && len(got) > 8*len(data) {
			t.Fatalf("%d floats in %d bytes", len(got), len(data))
		}
		if got, _, ok := Seconds(nil, data, n); ok && len(got) > 8*len(data) {
			t.Fatalf("%d times in %d bytes", len(got), len(data))
		}
	})
}

// Nobody writes bits behind the last number, or a kind that there is not: what is stored has one form.
func TestForms(t *testing.T) {
	floats, times := []float64{1, 1.5, 2}, []float32{2e-9, 3e-9, 1e-9}
	beside := AppendFloats(nil, floats, []float64{1, 1.5, 2})
	chained := AppendFloats(nil, []float64{1, math.Float64frombits(math.Float64bits(1) + 1), 1}, nil)
	short := AppendSeconds(nil, times)
	long := AppendSeconds(nil, []float32{1.5, math.Nextafter32(1.5, 2), 1.5})
	for _, its := range []struct {
		what string
		row  []byte
		kind byte
		read func(row []byte) bool
	}{
		{"floats beside others", beside, likeOther, func(row []byte) bool {
			_, _, ok := Floats(nil, row, 3, floats)
			return ok
		}},
		{"floats", chained, 0, func(row []byte) bool { _, _, ok := Floats(nil, row, 3, nil); return ok }},
		{"short times", short, nanoseconds, func(row []byte) bool { _, _, ok := Seconds(nil, row, 3); return ok }},
		{"long times", long, 0, func(row []byte) bool { _, _, ok := Seconds(nil, row, 3); return ok }},
	} {
		if its.row[0]&^widthMask != its.kind || !its.read(its.row) {
			t.Errorf("%s: % x is not read as they are", its.what, its.row)
		}
		padded := slices.Clone(its.row)
		if padded[len(padded)-1] |= 0x80; its.read(padded) {
			t.Errorf("%s: % x is read, with a bit behind the last number", its.what, padded)
		}
		unknown := slices.Clone(its.row)
		if unknown[0] |= likeOther | nanoseconds; its.read(unknown) {
			t.Errorf("%s: % x is read, of a kind that there is not", its.what, unknown)
		}
	}
}

// A curve of 10 epochs takes fewer bytes than its digits: that is what rows are for.
func TestSize(t *testing.T) {
	var training, validation []float64
	var times []float32
	for epoch := range 10 {
		curve := 0.01 + 0.08/float64(1+epoch)
		training = append(training, curve*(0.98+0.004*math.Sin(float64(7*epoch))))
		validation = append(validation, curve*(1+0.004*math.Cos(float64(5*epoch))))
		times = append(times, float32(float64(900+37*epoch)/1e9))
	}
	for _, its := range []struct {
		what       string
		size, most int
	}{
		{"training losses", len(AppendFloats(nil, training, nil)), 70},
		{"validation losses", len(AppendFloats(nil, validation, training)), 64},
		{"short times", len(AppendSeconds(nil, times)), 15},
		{"long times", len(AppendSeconds(nil, []float32{1.21, 1.22, 1.2, 1.23, 1.21, 1.2, 1.22, 1.23, 1.2, 1.21})), 30},
	} {
		if its.size > its.most {
			t.Errorf("%s take %d bytes, want at most %d", its.what, its.size, its.most)
		}
	}
}
