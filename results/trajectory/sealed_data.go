package trajectory

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"trellis/results/packed"
)

func appendNumber(data []byte, number float64) []byte {
	return binary.LittleEndian.AppendUint64(data, math.Float64bits(number))
}

func appendMessage(data []byte, message proto.Message) ([]byte, error) {
	options := proto.MarshalOptions{Deterministic: true}
	data = protowire.AppendVarint(data, uint64(options.Size(message)))
	options.UseCachedSize = true
	return options.MarshalAppend(data, message)
}

// consumeMessage reads the message at the start of data, and returns what follows it.
func consumeMessage(data []byte, message proto.Message) ([]byte, error) {
	own, n := protowire.ConsumeBytes(data)
	if n < 0 {
		return nil, errSealed
	}
	if err := proto.Unmarshal(own, message); err != nil {
		return nil, fmt.Errorf("%w: %w", errSealed, err)
	}
	return data[n:], nil
}

func uvarint(data []byte) (number uint64, rest []byte, ok bool) {
	number, n := protowire.ConsumeVarint(data)
	if n < 0 {
		return 0, nil, false
	}
	return number, data[n:], true
}

// reader reads what a run consists of. After an error, everything is empty.
type reader struct {
	data   []byte
	memory *memory
	err    error
}

func (r *reader) fail() { r.data, r.err = nil, cmp.Or(r.err, errSealed) }

func (r *reader) byte() (b byte) {
	if len(r.data) == 0 {
		r.fail()
		return 0
	}
	b, r.data = r.data[0], r.data[1:]
	return b
}

func (r *reader) uvarint() uint64 {
	number, rest, ok := uvarint(r.data)
	if r.data = rest; !ok {
		r.fail()
	}
	return number
}

// skip reads numbers that nobody needs.
func (r *reader) skip(uvarints int) {
	for range uvarints {
		r.uvarint()
	}
}

func (r *reader) number() float64 {
	if len(r.data) < 8 {
		r.fail()
		return 0
	}
	bits := binary.LittleEndian.Uint64(r.data)
	r.data = r.data[8:]
	return math.Float64frombits(bits)
}

func (r *reader) floats(n int, beside []float64) []float64 {
	var to []float64
	if r.mayHave(n) {
		to = r.memory.floats.next(n)
	}
	return r.floatsInto(to, n, beside)
}

// mayHave says whether so many numbers may follow, each of which takes a bit at least. What can't be there gets no
// memory.
func (r *reader) mayHave(n int) bool { return n <= 8*len(r.data) }

func (r *reader) floatsInto(to []float64, n int, beside []float64) []float64 {
	floats, rest, ok := packed.Floats(to, r.data, n, beside)
	if r.data = rest; !ok {
		r.fail()
	}
	return floats
}

func (r *reader) seconds(n int) []float32 {
	var to []float32
	if r.mayHave(n) {
		to = r.memory.seconds.next(n)
	}
	seconds, rest, ok := packed.Seconds(to, r.data, n)
	if r.data = rest; !ok {
		r.fail()
	}
	return seconds
}

func (r *reader) message(message proto.Message) {
	rest, err := consumeMessage(r.data, message)
	if r.data = rest; err != nil {
		r.data, r.err = nil, cmp.Or(r.err, err)
	}
}
