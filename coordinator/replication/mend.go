package replication

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
)

// The layout of a file of raft-wal's log: a header, then frames. A frame is a header of 8 bytes, its type and its
// length or checksum, and a payload that is padded to 8 bytes. A batch of entries ends with a commit frame, whose
// checksum is of all since the last one. A full file ends with an index of its entries in the last batch.
const (
	fileHeaderSize  = 32
	frameHeaderSize = 8
	entryFrame      = 1
	indexFrame      = 2
	commitFrame     = 3
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// mendSegment makes the last file of the log fit to go on in, after any crash. A missing file is fine. What raft-wal
// v0.4.2 leaves open:
//
//   - It takes a file whose index is written for full, but a kill between that and the list of files leaves the file
//     the last one, and every append to it fails forever. So the index is taken off again.
//   - A batch that was torn stays behind the next one's end, where its bytes can pass for frames. So all behind the
//     last whole batch is zeroed.
//   - A batch whose fsync has failed may be visible and yet not on the disk. So the last batch is written and synced
//     anew.
//   - A file that was made just before a kill has no durable name. So the folder is synced.
//
// A batch that is not whole and has a whole one behind it was not torn but damaged later: ErrDamaged.
func mendSegment(path string) error {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	end, index, err := scanSegment(content)
	if err != nil {
		return fmt.Errorf("the log's file %s is %w", path, err)
	}
	mended := content[:end.end:end.end]
	if index > 0 {
		// Without the index the batch ends where it began, with the checksum of what is before it.
		mended = mended[:index]
		if index > end.start {
			frame := make([]byte, frameHeaderSize)
			frame[0] = commitFrame
			binary.LittleEndian.PutUint32(frame[4:], crc32.Checksum(content[end.start:index], castagnoli))
			mended = append(mended, frame...)
		}
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("mend the log: %w", err)
	}
	defer file.Close()
	// First the last batch with its new end, then zeros over what was behind that: whatever a crash leaves is a file
	// that this function mends.
	from := min(end.start, len(mended))
	if _, err := file.WriteAt(mended[from:], int64(from)); err != nil {
		return fmt.Errorf("mend the log: %w", err)
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("mend the log: %w", err)
	}
	if rest := trimZeros(content); len(rest) > len(mended) {
		if _, err := file.WriteAt(make([]byte, len(rest)-len(mended)), int64(len(mended))); err != nil {
			return fmt.Errorf("mend the log: %w", err)
		}
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("mend the log: %w", err)
	}
	if err := syncFolder(filepath.Dir(path)); err != nil {
		return fmt.Errorf("mend the log: %w", err)
	}
	return nil
}

// batch is where a batch of entries begins and ends in a file, its commit frame included.
type batch struct{ start, end int }

// scanSegment finds the last whole batch, and where its index begins, if it has one.
func scanSegment(content []byte) (last batch, index int, err error) {
	current := batch{}
	currentIndex, torn := 0, false
	for offset := fileHeaderSize; offset+frameHeaderSize <= len(content); {
		header := content[offset : offset+frameHeaderSize]
		value := binary.LittleEndian.Uint32(header[4:])
		size := frameHeaderSize
		switch header[0] {
		case entryFrame, indexFrame:
			if header[0] == indexFrame {
				currentIndex = offset
			}
			size += (int(value) + frameHeaderSize - 1) / frameHeaderSize * frameHeaderSize
		case commitFrame:
			current.end = offset + frameHeaderSize
			if crc32.Checksum(content[current.start:offset], castagnoli) != value {
				torn = true
			} else if torn {
				return last, 0, fmt.Errorf("%w: the entries before byte %d are not as they were written, those "+
					"after them are",
					ErrDamaged, current.start)
			} else {
				last, index = current, currentIndex
			}
			current.start, currentIndex = current.end, 0
		default:
			return last, index, nil
		}
		offset += size
	}
	return last, index, nil
}

// trimZeros returns content without the zeros at its end.
func trimZeros(content []byte) []byte {
	for len(content) > 0 && content[len(content)-1] == 0 {
		content = content[:len(content)-1]
	}
	return content
}
