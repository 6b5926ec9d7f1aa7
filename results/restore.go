package results

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Restore replaces everything in the store by what WriteTo wrote. It does so at once and as a whole: readers see the old
// state or the new one, all watch sets of snapshots of the old one fire, and if it fails nothing has changed. It reads to
// the end of r, and needs no more memory than the rows take. Errors are ErrCorrupt, ErrNewer, and those of r.
func (s *Store) Restore(r io.Reader) error {
	restored, err := restoreTables(&blockReader{r: bufio.NewReaderSize(r, blockSize)})
	if err != nil {
		return fmt.Errorf("restore the snapshot: %w", err)
	}
	replaced := s.tables.Swap(restored)
	close(replaced.replaced)
	return nil
}

func restoreTables(blocks *blockReader) (*generation, error) {
	version, err := blocks.readHeader()
	if err != nil {
		return nil, err
	}
	restored, err := newGeneration()
	if err != nil {
		return nil, err
	}
	txn := restored.db.Txn(true)
	defer txn.Abort()
	restorer := newRestorer(txn, version)
	for {
		payload, err := blocks.next()
		if err != nil {
			return nil, err
		}
		end, err := restorer.block(payload)
		if err != nil {
			return nil, fmt.Errorf("block %d: %w", blocks.number, err)
		}
		if end {
			break
		}
	}
	if err := blocks.readEnd(); err != nil {
		return nil, err
	}
	if err := restorer.finish(); err != nil {
		return nil, err
	}
	txn.Commit()
	return restored, nil
}

// blockReader takes a snapshot apart into the payloads of its blocks. What it returns is what was written.
type blockReader struct {
	r io.Reader
	// number counts the blocks.
	number  uint64
	payload bytes.Buffer
}

// readFull fills data. The end of the data is damage: it is known from the end mark, and not looked for.
func (b *blockReader) readFull(data []byte, what string) error {
	_, err := io.ReadFull(b.r, data)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("it ends within %s: %w", what, ErrCorrupt)
	}
	return err
}

// readHeader returns the version of the format.
func (b *blockReader) readHeader() (version uint32, err error) {
	header := make([]byte, len(formatHeader(0)))
	if err := b.readFull(header, "its header"); err != nil {
		return 0, err
	}
	if !bytes.HasPrefix(header, []byte(formatMagic)) {
		return 0, fmt.Errorf("it does not begin with %q: %w", formatMagic, ErrCorrupt)
	}
	version = binary.BigEndian.Uint32(header[len(formatMagic):])
	if !bytes.Equal(header, formatHeader(version)) {
		return 0, fmt.Errorf("its header's checksum is wrong: %w", ErrCorrupt)
	}
	if version == 0 {
		return 0, fmt.Errorf("it is of version 0, which has never been: %w", ErrCorrupt)
	}
	if version > FormatVersion {
		return 0, fmt.Errorf("it is of version %d, this Trellis reads versions up to %d: %w", version, FormatVersion, ErrNewer)
	}
	return version, nil
}

// next returns the payload of the next block, which is good until the next call. No more memory is taken than there are
// bytes to read, whatever length a damaged block claims.
func (b *blockReader) next() ([]byte, error) {
	b.number++
	where := fmt.Sprintf("block %d", b.number)
	head := make([]byte, blockHeadSize)
	if err := b.readFull(head, where); err != nil {
		return nil, err
	}
	if headChecksum(b.number-1, head) != binary.BigEndian.Uint32(head[8:]) {
		return nil, fmt.Errorf("the checksum of the head of %s is wrong: %w", where, ErrCorrupt)
	}
	size := int64(binary.BigEndian.Uint32(head))
	if size > maxBlockSize {
		return nil, fmt.Errorf("%s has %d bytes, at most %d are allowed: %w", where, size, maxBlockSize, ErrCorrupt)
	}
	b.payload.Reset()
	read, err := io.CopyN(&b.payload, b.r, size)
	if read < size && errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("it ends within %s: %w", where, ErrCorrupt)
	}
	if err != nil {
		return nil, err
	}
	payload := b.payload.Bytes()
	if crc32.Checksum(payload, castagnoli) != binary.BigEndian.Uint32(head[4:]) {
		return nil, fmt.Errorf("the checksum of %s is wrong: %w", where, ErrCorrupt)
	}
	return payload, nil
}

// readEnd makes sure that nothing follows.
func (b *blockReader) readEnd() error {
	switch _, err := io.ReadFull(b.r, make([]byte, 1)); {
	case err == nil:
		return fmt.Errorf("something follows its end: %w", ErrCorrupt)
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}
