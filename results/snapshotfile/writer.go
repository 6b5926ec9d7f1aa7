package snapshotfile

import (
	"encoding/binary"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"
)

// Writer writes a file. Call Begin, then Add for the rows of one table after another and EndTable after each table, and
// then End. It collects rows of a table in a block until the block is full.
type Writer struct {
	w       io.Writer
	written int64
	// number counts the blocks that have been written, and rows counts all rows.
	number, rows uint64
	// block has the head and the payload of the next block. It is empty if the block has no rows.
	block []byte
}

// NewWriter returns a writer that writes to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Written returns how many bytes have been written.
func (w *Writer) Written() int64 { return w.written }

// Begin writes the header.
func (w *Writer) Begin() error { return w.write(Header(Version)) }

// Add adds a row to a table, whose name has at most 255 bytes. Before rows of another table, call EndTable.
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

// EndTable writes the current block, if it has rows.
func (w *Writer) EndTable() error {
	if len(w.block) == 0 {
		return nil
	}
	payload := w.block[HeadSize:]
	if len(payload) > MaxBlockSize {
		return fmt.Errorf("a block of %d bytes is too large: at most %d are allowed", len(payload), MaxBlockSize)
	}
	PutHead(w.block, w.number, payload)
	if err := w.write(w.block); err != nil {
		return err
	}
	w.number++
	w.block = w.block[:0]
	return nil
}

// End writes the end mark: a block without a table that has the number of rows.
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
