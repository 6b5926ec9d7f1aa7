package packed

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
)

// A row begins with a byte: how many bits each number takes in the low bits, from 1, and how to read them in the others. A
// row without numbers has no byte. Numbers follow each other from the lowest bit of the first byte on. The bits behind
// the last one are 0.
const (
	// widthMask has the width of 1 to 64 bits, less one.
	widthMask = 0x3f
	// likeOther says that floats are differences from the other row, instead of from the float before. nanoseconds says that
	// times are whole nanoseconds, instead of bits above the lowest.
	likeOther, nanoseconds = 0x40, 0x80
)

// AppendFloats appends floats, each of which is near the one before, or near the one of the other row at its position. The
// other row may be shorter or nil.
func AppendFloats(data []byte, floats, other []float64) []byte {
	if len(floats) == 0 {
		return data
	}
	chained, beside := uint64(1), uint64(1)
	for i, f := range floats {
		if i > 0 {
			chained |= difference(f, floats[i-1])
		}
		if i < len(other) {
			beside |= difference(f, other[i])
		}
	}
	// The first float of a chain is written whole.
	if width := bits.Len64(beside); len(other) >= len(floats) && width*len(floats) < bits.Len64(chained)*(len(floats)-1)+64 {
		w := beginRow(data, likeOther, width, len(floats))
		for i, f := range floats {
			w.add(difference(f, other[i]))
		}
		return w.end()
	}
	width := bits.Len64(chained)
	w := beginRow(data, 0, width, len(floats)+8)
	w.data = binary.LittleEndian.AppendUint64(w.data, math.Float64bits(floats[0]))
	for i := range floats[1:] {
		w.add(difference(floats[i+1], floats[i]))
	}
	return w.end()
}

// Floats reads so many floats that AppendFloats has appended beside the same other row, and returns what follows them. ok
// is false if the data is no such row. The floats are in the array of another row, which is overwritten, if there is
// room.
func Floats(to []float64, data []byte, n int, other []float64) (floats []float64, rest []byte, ok bool) {
	if n == 0 {
		return nil, data, true
	}
	kind, r, ok := readRow(data)
	if !ok {
		return nil, nil, false
	}
	if kind == likeOther {
		if len(other) < n || !r.has(n) {
			return nil, nil, false
		}
		floats = sized(to, n)
		for i := range floats {
			floats[i] = plus(other[i], r.next())
		}
		rest, ok = r.end()
		return floats, rest, ok
	}
	if kind != 0 || len(r.data) < 8 {
		return nil, nil, false
	}
	first := math.Float64frombits(binary.LittleEndian.Uint64(r.data))
	if r.data = r.data[8:]; !r.has(n - 1) {
		return nil, nil, false
	}
	floats = sized(to, n)
	floats[0] = first
	for i := range floats[1:] {
		floats[i+1] = plus(floats[i], r.next())
	}
	rest, ok = r.end()
	return floats, rest, ok
}

// sized returns a row of n numbers, in the array of another if there is room.
func sized[Number float32 | float64](to []Number, n int) []Number {
	if cap(to) < n {
		return make([]Number, n)
	}
	return to[:n]
}

// difference is small if two floats are near each other, and says exactly how one follows from the other.
func difference(f, from float64) uint64 {
	d := int64(math.Float64bits(f) - math.Float64bits(from))
	return uint64(d<<1 ^ d>>63)
}

// plus returns the float that has a difference from another one.
func plus(from float64, difference uint64) float64 {
	return math.Float64frombits(math.Float64bits(from) + (difference>>1 ^ -(difference & 1)))
}

// AppendSeconds appends times. Short ones have been measured in whole nanoseconds, which takes less than their digits.
func AppendSeconds(data []byte, seconds []float32) []byte {
	if len(seconds) == 0 {
		return data
	}
	whole, lowest, highest, exact := uint64(1), uint32(math.MaxUint32), uint32(0), true
	for _, s := range seconds {
		b := math.Float32bits(s)
		lowest, highest = min(lowest, b), max(highest, b)
		n, ok := inNanoseconds(s)
		whole, exact = whole|n, exact && ok
	}
	if width := bits.Len64(whole); exact && width*len(seconds) <= bits.Len32(highest-lowest)*len(seconds)+32 {
		w := beginRow(data, nanoseconds, width, len(seconds))
		for _, s := range seconds {
			n, _ := inNanoseconds(s)
			w.add(n)
		}
		return w.end()
	}
	w := beginRow(data, 0, max(1, bits.Len32(highest-lowest)), len(seconds)+4)
	w.data = binary.LittleEndian.AppendUint32(w.data, lowest)
	for _, s := range seconds {
		w.add(uint64(math.Float32bits(s) - lowest))
	}
	return w.end()
}

// Seconds reads so many times that AppendSeconds has appended, as Floats does.
func Seconds(to []float32, data []byte, n int) (seconds []float32, rest []byte, ok bool) {
	if n == 0 {
		return nil, data, true
	}
	kind, r, ok := readRow(data)
	if !ok || kind != 0 && kind != nanoseconds {
		return nil, nil, false
	}
	lowest := uint32(0)
	if kind == 0 {
		if len(r.data) < 4 {
			return nil, nil, false
		}
		lowest, r.data = binary.LittleEndian.Uint32(r.data), r.data[4:]
	}
	if !r.has(n) {
		return nil, nil, false
	}
	seconds = sized(to, n)
	for i := range seconds {
		if kind == 0 {
			seconds[i] = math.Float32frombits(lowest + uint32(r.next()))
		} else {
			seconds[i] = ofNanoseconds(r.next())
		}
	}
	rest, ok = r.end()
	return seconds, rest, ok
}

// inNanoseconds returns the whole nanoseconds that are exactly this time, if there are some.
func inNanoseconds(s float32) (n uint64, ok bool) {
	const most = 1 << 32
	whole := math.Round(float64(s) * 1e9)
	if !(whole >= 0 && whole < most) {
		return 0, false
	}
	n = uint64(whole)
	return n, math.Float32bits(ofNanoseconds(n)) == math.Float32bits(s)
}

// Measured returns a time as it has been measured: in whole nanoseconds, if they are exactly this time.
func Measured(s float32) float64 {
	if n, ok := inNanoseconds(s); ok {
		return float64(n) / 1e9
	}
	return float64(s)
}

func ofNanoseconds(n uint64) float32 { return float32(float64(n) / 1e9) }

// rowWriter appends numbers of a width.
type rowWriter struct {
	data  []byte
	width int
	// held has the bits that are not written yet, from the lowest on.
	held uint64
	bits int
}

func beginRow(data []byte, kind byte, width, room int) rowWriter {
	data = slices.Grow(data, 1+(width*room+7)/8)
	return rowWriter{data: append(data, kind|byte(width-1)), width: width}
}

func (w *rowWriter) add(number uint64) {
	w.held |= number << w.bits
	if w.bits += w.width; w.bits < 64 {
		return
	}
	w.data = binary.LittleEndian.AppendUint64(w.data, w.held)
	w.bits -= 64
	w.held = number >> (w.width - w.bits)
}

// end returns all data.
func (w *rowWriter) end() []byte {
	for ; w.bits > 0; w.bits -= 8 {
		w.data = append(w.data, byte(w.held))
		w.held >>= 8
	}
	return w.data
}

// rowReader reads the numbers of a row.
type rowReader struct {
	data  []byte
	width int
	at    int
}

// readRow reads how a row begins.
func readRow(data []byte) (kind byte, r rowReader, ok bool) {
	if len(data) == 0 {
		return 0, r, false
	}
	return data[0] &^ widthMask, rowReader{data: data[1:], width: int(data[0]&widthMask) + 1}, true
}

// size returns how many bytes n numbers take.
func (r *rowReader) size(n int) int { return (n*r.width + 7) / 8 }

// has says whether n numbers are there. Each takes at least a bit, so that there are not many more of them than bytes.
func (r *rowReader) has(n int) bool { return n <= 8*len(r.data) && r.size(n) <= len(r.data) }

// next returns the next number, which is there.
func (r *rowReader) next() uint64 {
	at, shift := r.at/8, r.at%8
	r.at += r.width
	var number uint64
	if at+8 <= len(r.data) {
		number = binary.LittleEndian.Uint64(r.data[at:])
	} else {
		for i, b := range r.data[at:] {
			number |= uint64(b) << (8 * i)
		}
	}
	if number >>= shift; shift+r.width > 64 {
		number |= uint64(r.data[at+8]) << (64 - shift)
	}
	return number & (math.MaxUint64 >> (64 - r.width))
}

// end returns what follows the numbers that have been read, unless there are bits behind the last one.
func (r *rowReader) end() (rest []byte, ok bool) {
	size, used := (r.at+7)/8, r.at%8
	if used > 0 && r.data[size-1]>>used != 0 {
		return nil, false
	}
	return r.data[size:], true
}
