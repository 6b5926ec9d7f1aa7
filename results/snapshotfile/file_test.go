package snapshotfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// write makes a file of tables with so many rows, each of the given size in bytes.
func write(t testing.TB, size int, tables ...int) []byte {
	t.Helper()
	var data bytes.Buffer
	w := NewWriter(&data)
	if err := w.Begin(); err != nil {
		t.Fatal(err)
	}
	for table, rows := range tables {
		for row := range rows {
			text := fmt.Sprintf("%d %d ", table, row)
			message := wrapperspb.String(text + strings.Repeat("x", max(0, size-len(text))))
			if err := w.Add(fmt.Sprint("table ", table), message); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.EndTable(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.End(); err != nil {
		t.Fatal(err)
	}
	if int(w.Written()) != data.Len() {
		t.Fatalf("it says that it wrote %d bytes, of %d", w.Written(), data.Len())
	}
	return data.Bytes()
}

// read returns what a file has, as text, and how many blocks.
func read(data []byte) (text string, blocks uint64, err error) {
	r := NewReader(iotest.HalfReader(bytes.NewReader(data)))
	if _, err := r.Begin(); err != nil {
		return "", 0, err
	}
	var lines []string
	for {
		table, err := r.Next()
		if err != nil || table == "" {
			return strings.Join(lines, "\n"), r.Block(), err
		}
		for row, err := range r.Rows() {
			if err != nil {
				return "", 0, err
			}
			var message wrapperspb.StringValue
			if err := proto.Unmarshal(row, &message); err != nil {
				return "", 0, err
			}
			lines = append(lines, table+": "+strings.TrimRight(message.Value, " x"))
		}
	}
}

// TestFile: what is written is read, in blocks of about their size.
func TestFile(t *testing.T) {
	for _, test := range []struct {
		size   int
		tables []int
		blocks uint64
		want   string
	}{
		{0, nil, 1, ""},
		{0, []int{1, 0, 2}, 3, "table 0: 0 0\ntable 2: 2 0\ntable 2: 2 1"},
		{BlockSize - 100, []int{3}, 3, "table 0: 0 0\ntable 0: 0 1\ntable 0: 0 2"},
		{3 * BlockSize, []int{2, 1}, 4, "table 0: 0 0\ntable 0: 0 1\ntable 1: 1 0"},
	} {
		got, blocks, err := read(write(t, test.size, test.tables...))
		if err != nil || got != test.want || blocks != test.blocks {
			t.Errorf("%v: %d blocks of\n%s\nerror %v, want %d of\n%s", test.tables, blocks, got, err, test.blocks,
				test.want)
		}
	}
}

// TestDamage: whatever is cut off or changed, it is an error.
func TestDamage(t *testing.T) {
	data := write(t, 0, 2, 1)
	refuse := func(what string, data []byte, want error) {
		t.Helper()
		if text, _, err := read(data); !errors.Is(err, want) {
			t.Fatalf("%s: %q, error %v, want %v", what, text, err, want)
		}
	}
	for n := range data {
		refuse(fmt.Sprintf("the first %d bytes", n), data[:n], ErrCorrupt)
	}
	for bit := range 8 * len(data) {
		changed := slices.Clone(data)
		changed[bit/8] ^= 1 << (bit % 8)
		refuse(fmt.Sprintf("bit %d turned", bit), changed, ErrCorrupt)
	}
	refuse("two in one", slices.Concat(data, data), ErrCorrupt)
	refuse("newer", Header(Version+1), ErrNewer)
	refuse("version 0", Header(0), ErrCorrupt)
}

// TestRowsOfAnySize: whatever the store holds is written and read, so that a row can't end the node at each start.
func TestRowsOfAnySize(t *testing.T) {
	const size = 64<<20 + 1
	if text, blocks, err := read(write(t, size, 1)); err != nil || text != "table 0: 0 0" || blocks != 2 {
		t.Errorf("a row of %d bytes: %.60q in %d blocks, error %v", size, text, blocks, err)
	}
}

// TestNoMemoryOnTrust: a block that claims to be large costs no more than there is of it.
func TestNoMemoryOnTrust(t *testing.T) {
	head := make([]byte, HeadSize)
	for _, size := range []uint32{64 << 20, MaxBlockSize} {
		binary.BigEndian.PutUint32(head, size)
		binary.BigEndian.PutUint32(head[8:], headChecksum(0, head))
		data := slices.Concat(Header(Version), head, make([]byte, 100))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, err := read(data)
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, ErrCorrupt) || took > 1<<20 {
			t.Errorf("a block of %d bytes: error %v, %d bytes taken", size, err, took)
		}
	}
}

// TestChecksum pins the polynomial, by the check value that is published for it.
func TestChecksum(t *testing.T) {
	if got := crc32.Checksum([]byte("123456789"), castagnoli); got != 0xe3069283 {
		t.Errorf("%08x", got)
	}
}
