package snapshotfile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
)

// Reader reads the rows of a file. It returns exactly what was written, or fails with ErrCorrupt, ErrNewer, or an error
// of the underlying reader.
type Reader struct {
	r io.Reader
	// number counts the blocks, and rows counts the rows that Rows has returned.
	number, rows uint64
	payload      bytes.Buffer
	// table is the table of the last block, and rest is the part of the block that Rows has not returned yet.
	table string
	rest  []byte
}

// NewReader returns a reader that reads to the end of r.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReaderSize(r, BlockSize)} }

// Begin reads the header, and returns the version of the format.
func (r *Reader) Begin() (version uint32, err error) {
	header := make([]byte, len(Header(0)))
	if err := r.readFull(header, "its header"); err != nil {
		return 0, err
	}
	if !bytes.HasPrefix(header, []byte(magic)) {
		return 0, fmt.Errorf("it does not begin with %q: %w", magic, ErrCorrupt)
	}
	version = binary.BigEndian.Uint32(header[len(magic):])
	if !bytes.Equal(header, Header(version)) {
		return 0, fmt.Errorf("its header's checksum is wrong: %w", ErrCorrupt)
	}
	if version == 0 {
		return 0, fmt.Errorf("it has version 0, which never existed: %w", ErrCorrupt)
	}
	if version > Version {
		return 0, fmt.Errorf("it has version %d, but this Trellis only reads versions up to %d: %w", version, Version,
			ErrNewer)
	}
	return version, nil
}

// Block returns the number of the current block, from 1.
func (r *Reader) Block() uint64 { return r.number }

// Next advances to the next block, and returns the name of its table. Rows then returns its rows. After the last block,
// Next returns the empty name, if the end mark has the correct number of rows and nothing follows it.
func (r *Reader) Next() (table string, err error) {
	payload, err := r.next()
	if err != nil {
		return "", err
	}
	if len(payload) == 0 || len(payload) < 1+int(payload[0]) {
		return "", fmt.Errorf("block %d: missing table name: %w", r.number, ErrCorrupt)
	}
	length := int(payload[0])
	r.table, r.rest = string(payload[1:1+length]), payload[1+length:]
	if r.table != "" {
		return r.table, nil
	}
	if rows, n := binary.Uvarint(r.rest); n != len(r.rest) || rows != r.rows {
		return "", fmt.Errorf("block %d: the end mark counts %d rows, but there are %d: %w", r.number, rows, r.rows,
			ErrCorrupt)
	}
	return "", r.readEnd()
}

// Rows returns the encoded rows of the block. Each is valid until the next call of Next.
func (r *Reader) Rows() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for len(r.rest) > 0 {
			size, n := binary.Uvarint(r.rest)
			if n <= 0 || size > uint64(len(r.rest)-n) {
				yield(nil, fmt.Errorf("a row of table %s is longer than its block: %w", r.table, ErrCorrupt))
				return
			}
			row := r.rest[n : n+int(size)]
			r.rest = r.rest[n+int(size):]
			r.rows++
			if !yield(row, nil) {
				return
			}
		}
	}
}

// next returns the payload of the next block, which is valid until the next call. It allocates no more memory than
// there are bytes to read, whatever length a damaged block claims.
func (r *Reader) next() ([]byte, error) {
	r.number++
	where := fmt.Sprintf("block %d", r.number)
	head := make([]byte, HeadSize)
	if err := r.readFull(head, where); err != nil {
		return nil, err
	}
	if headChecksum(r.number-1, head) != binary.BigEndian.Uint32(head[8:]) {
		return nil, fmt.Errorf("the checksum of the head of %s is wrong: %w", where, ErrCorrupt)
	}
	size := int64(binary.BigEndian.Uint32(head))
	r.payload.Reset()
	read, err := io.CopyN(&r.payload, r.r, size)
	if read < size && errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("it ends within %s: %w", where, ErrCorrupt)
	}
	if err != nil {
		return nil, err
	}
	payload := r.payload.Bytes()
	if crc32.Checksum(payload, castagnoli) != binary.BigEndian.Uint32(head[4:]) {
		return nil, fmt.Errorf("the checksum of %s is wrong: %w", where, ErrCorrupt)
	}
	return payload, nil
}

// readFull fills data. An end of file is damage here, because the end mark says where the file ends.
func (r *Reader) readFull(data []byte, what string) error {
	_, err := io.ReadFull(r.r, data)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("it ends within %s: %w", what, ErrCorrupt)
	}
	return err
}

// readEnd checks that nothing follows.
func (r *Reader) readEnd() error {
	switch _, err := io.ReadFull(r.r, make([]byte, 1)); {
	case err == nil:
		return fmt.Errorf("something follows its end: %w", ErrCorrupt)
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}
