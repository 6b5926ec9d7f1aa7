package snapshotfile

import (
	"encoding/binary"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"
)

// Writer writes a file: Begin, the rows of one table after another by Add and EndTable, and End. It collects rows of a
// table in a block until that is full.
type Writer struct {
	w       io.Writer
	written int64
	// number counts the blocks that are written, rows all rows.
	number, rows uint64
	// block is the head and the payload of the block to come, empty if it has no row.
	block []byte
}

// NewWriter returns a writer that has written nothing yet.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Written is how many bytes have been written.
func (w *Writer) Written() int64 { return w.written }

// Begin writes the header.
func (w *Writer) Begin() error { return w.write(Header(Version)) }

// Add adds a row to a table, whose name has 255 bytes at most. The last table must have been ended if this is another
// one.
func (w *Writer) Add(table string, row proto.Message) error {
	if len(w.block) == 0 {
		w.beginBlock(table)
	}
	options := proto.MarshalOptions{Deterministic: true}
	size := options.Size(row)
	w.block = binary.AppendUvarint(w.block, uint64(size))
	var err error
	options.UseCachedSize = true
	if w.block, err = options.MarshalAppend(w.block, row); err != nil {
		return err
	}
	w.rows++
	if len(w.block) >= HeadSize+BlockSize {
		return w.EndTable()
	}
	return nil
}

// EndTable writes the block that has been begun, if any.
func (w *Writer) EndTable() error {
	if len(w.block) == 0 {
		return nil
	}
	payload := w.block[HeadSize:]
	if len(payload) > MaxBlockSize {
		return fmt.Errorf("a block of %d bytes, at most %d are allowed", len(payload), MaxBlockSize)
	}
	PutHead(w.block, w.number, payload)
	if err := w.write(w.block); err != nil {
		return err
	}
	w.number++
	w.block = w.block[:0]
	return nil
}

// End writes the end mark: a block that has no table, but the number of rows.
func (w *Writer) End() error {
	rows := w.rows
	w.beginBlock("")
	w.block = binary.AppendUvarint(w.block, rows)
	return w.EndTable()
}

func (w *Writer) beginBlock(table string) {
	w.block = append(w.block[:0], make([]byte, HeadSize)...)
	w.block = append(w.block, byte(len(table)))
	w.block = append(w.block, table...)
}

func (w *Writer) write(data []byte) error {
	n, err := w.w.Write(data)
	w.written += int64(n)
	if err == nil && n < len(data) {
		err = io.ErrShortWrite
	}
	return err
}
