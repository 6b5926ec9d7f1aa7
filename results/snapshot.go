package results

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"google.golang.org/protobuf/proto"
)

// The format of a store on disk: see DESIGN.md.
const (
	// formatMagic is what a store on disk begins with.
	formatMagic = "trellis results\n"
	// FormatVersion is the version of the format that WriteTo writes, and the latest that Restore reads.
	FormatVersion = 4
	// blockSize is about how large a block's payload is, in bytes. A single row may make it larger.
	blockSize = 64 << 10
	// maxBlockSize is how large a payload may be. Rows are far smaller: a run's losses have 160 kB at most.
	maxBlockSize = 64 << 20
	// A block's head: the length of its payload, the checksum of its payload, the checksum of the head.
	blockHeadSize = 12
)

// What Restore refuses.
var (
	// ErrCorrupt: the data is no snapshot, or cut short, or has been changed since it was written.
	ErrCorrupt = errors.New("damaged snapshot")
	// ErrNewer: a newer version of Trellis wrote the snapshot, in a format that this one does not know.
	ErrNewer = errors.New("snapshot of a newer version of Trellis")
)

// castagnoli is the polynomial of all checksums.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// WriteTo writes all that the store consists of, in the format of DESIGN.md, from which Restore makes the same state. It
// returns how many bytes it has written.
func (s *Snapshot) WriteTo(w io.Writer) (int64, error) {
	b := &blockWriter{w: w}
	err := b.writeHeader()
	for _, content := range contents {
		if err == nil {
			err = s.writeRows(b, content)
		}
	}
	if err == nil {
		err = b.writeEnd()
	}
	if err != nil {
		return b.written, fmt.Errorf("write the snapshot: %w", err)
	}
	return b.written, nil
}

func (s *Snapshot) writeRows(b *blockWriter, content content) error {
	rows, err := content.rows(s.reader)
	if err != nil {
		return err
	}
	for row, err := range rows {
		if err == nil {
			err = b.add(content.name, row)
		}
		if err != nil {
			return fmt.Errorf("table %s: %w", content.name, err)
		}
	}
	return b.flush()
}

// blockWriter collects rows of one table in a block until it is full.
type blockWriter struct {
	w       io.Writer
	written int64
	// number counts the blocks that are written, rows all rows.
	number, rows uint64
	// block is the head and the payload of the block to come, empty if it has no row.
	block []byte
}

func (b *blockWriter) write(data []byte) error {
	n, err := b.w.Write(data)
	b.written += int64(n)
	if err == nil && n < len(data) {
		err = io.ErrShortWrite
	}
	return err
}

func (b *blockWriter) writeHeader() error { return b.write(formatHeader(FormatVersion)) }

func formatHeader(version uint32) []byte {
	header := binary.BigEndian.AppendUint32([]byte(formatMagic), version)
	return binary.BigEndian.AppendUint32(header, crc32.Checksum(header, castagnoli))
}

func (b *blockWriter) add(table string, row proto.Message) error {
	if len(b.block) == 0 {
		b.begin(table)
	}
	options := proto.MarshalOptions{Deterministic: true}
	size := options.Size(row)
	b.block = binary.AppendUvarint(b.block, uint64(size))
	var err error
	options.UseCachedSize = true
	if b.block, err = options.MarshalAppend(b.block, row); err != nil {
		return err
	}
	b.rows++
	if len(b.block) >= blockHeadSize+blockSize {
		return b.flush()
	}
	return nil
}

func (b *blockWriter) begin(table string) {
	b.block = append(b.block[:0], make([]byte, blockHeadSize)...)
	b.block = append(b.block, byte(len(table)))
	b.block = append(b.block, table...)
}

// flush writes the block that has been begun, if any.
func (b *blockWriter) flush() error {
	if len(b.block) == 0 {
		return nil
	}
	payload := b.block[blockHeadSize:]
	if len(payload) > maxBlockSize {
		return fmt.Errorf("a block of %d bytes, at most %d are allowed", len(payload), maxBlockSize)
	}
	putBlockHead(b.block, b.number, payload)
	if err := b.write(b.block); err != nil {
		return err
	}
	b.number++
	b.block = b.block[:0]
	return nil
}

// writeEnd writes the block that has no table, but the number of rows.
func (b *blockWriter) writeEnd() error {
	rows := b.rows
	b.begin("")
	b.block = binary.AppendUvarint(b.block, rows)
	return b.flush()
}

func putBlockHead(head []byte, number uint64, payload []byte) {
	binary.BigEndian.PutUint32(head, uint32(len(payload)))
	binary.BigEndian.PutUint32(head[4:], crc32.Checksum(payload, castagnoli))
	binary.BigEndian.PutUint32(head[8:], headChecksum(number, head))
}

// headChecksum is that of a block's head, and of the block's number, which is not written: a block that is missing, or in
// another's place, is noticed.
func headChecksum(number uint64, head []byte) uint32 {
	sum := crc32.Checksum(binary.BigEndian.AppendUint64(nil, number), castagnoli)
	return crc32.Update(sum, castagnoli, head[:8])
}
