package snapshotfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"slices"
	"testing"
	"testing/iotest"
)

// FuzzRead: whatever a file holds, it is damaged, or it has rows that were written. It takes no more memory than
// there is of it. With seal, the input is payloads, each after its length in two bytes, and gets heads with the
// right checksums.
func FuzzRead(f *testing.F) {
	whole := write(f, 0, 2, 0, 1)
	f.Add(whole, false)
	f.Add(write(f, 0), false)
	f.Add(write(f, BlockSize, 2), false)
	f.Add(whole[:len(whole)-1], false)
	f.Add(slices.Concat(whole, whole), false)
	f.Add(Header(Version+1), false)
	f.Add([]byte("trellis-backup\r\n"), false)
	head := make([]byte, HeadSize)
	binary.BigEndian.PutUint32(head, math.MaxUint32)
	binary.BigEndian.PutUint32(head[8:], headChecksum(0, head))
	f.Add(slices.Concat(Header(Version), head), false)
	payload := []byte("\x01t\x03abc\x00")
	for _, payloads := range [][][]byte{
		{payload, {0, 2}},
		{payload, {0, 3}},
		{{1, 't', 200, 1}},
		{{200}},
		{{}},
		{{0, 0x80}},
		{{0, 0}, payload},
		{slices.Concat([]byte("\x01t"), binary.AppendUvarint(nil, math.MaxUint64), []byte("x"))},
	} {
		var input []byte
		for _, payload := range payloads {
			input = append(binary.BigEndian.AppendUint16(input, uint16(len(payload))), payload...)
		}
		f.Add(input, true)
	}
	f.Fuzz(func(t *testing.T, data []byte, seal bool) {
		if seal {
			data = seal16(data)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		blocks, rows, size, err := readRows(data)
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20+100*uint64(len(data)) {
			t.Errorf("%d bytes of memory for %d", took, len(data))
		}
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
				t.Errorf("got %v", err)
			}
			return
		}
		if least := len(Header(0)) + int(blocks)*HeadSize + rows + size; least > len(data) {
			t.Errorf("%d rows of %d bytes in %d blocks, of %d bytes", rows, size, blocks, len(data))
		}
	})
}

// seal16 makes a file of payloads, each after its length in two bytes.
func seal16(input []byte) []byte {
	file := Header(Version)
	for number := uint64(0); len(input) >= 2; number++ {
		size := min(int(binary.BigEndian.Uint16(input)), len(input)-2)
		payload, head := input[2:2+size], make([]byte, HeadSize)
		PutHead(head, number, payload)
		file, input = slices.Concat(file, head, payload), input[2+size:]
	}
	return file
}

// readRows counts what a file has: its blocks, its rows, and their bytes.
func readRows(data []byte) (blocks uint64, rows, size int, err error) {
	r := NewReader(iotest.HalfReader(bytes.NewReader(data)))
	if _, err := r.Begin(); err != nil {
		return 0, 0, 0, err
	}
	for {
		table, err := r.Next()
		if err != nil || table == "" {
			return r.Block(), rows, size, err
		}
		for row, err := range r.Rows() {
			if err != nil {
				return 0, 0, 0, err
			}
			rows, size = rows+1, size+len(row)
		}
	}
}
