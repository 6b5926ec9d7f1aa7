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
// checksum covers everything since the last commit frame. A full file ends with an index of its entries in the last
// batch.
const (
	fileHeaderSize  = 32
	frameHeaderSize = 8
	entryFrame      = 1
	indexFrame      = 2
	commitFrame     = 3
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// mendSegment repairs the last file of the log after any crash, so that the log can continue in it. The file may be
// missing. It handles what raft-wal v0.4.2 leaves open:
//
//   - It considers a file full when its index is written. But after a kill before the list of files is updated, the
//     file is still the last one, and every append to it fails forever. So the index is removed.
//   - Bytes of a torn batch stay after the end of the next one, where they can look like frames. So everything after
//     the last complete batch is zeroed.
//   - A batch whose fsync failed may be readable but not on the disk. So the last batch is written and synced again.
//   - The name of a file that was created just before a kill is not durable. So the folder is synced.
//
// An incomplete batch before a complete one was not torn but damaged later: the error is ErrDamaged.
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
		// Without the index, the batch ends where the index began, with the checksum of what is before it.
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
		return fmt.Errorf("repair the log: %w", err)
	}
	defer file.Close()
	// Write the last batch with its new end first, then zeros over everything after it. After a crash at any point,
	// this function can repair the file.
	from := min(end.start, len(mended))
	if _, err := file.WriteAt(mended[from:], int64(from)); err != nil {
		return fmt.Errorf("repair the log: %w", err)
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("repair the log: %w", err)
	}
	if rest := trimZeros(content); len(rest) > len(mended) {
		if _, err := file.WriteAt(make([]byte, len(rest)-len(mended)), int64(len(mended))); err != nil {
			return fmt.Errorf("repair the log: %w", err)
		}
	}
	if err := file.Sync(); err != nil {
		return fmt.Errorf("repair the log: %w", err)
	}
	if err := syncFolder(filepath.Dir(path)); err != nil {
		return fmt.Errorf("repair the log: %w", err)
	}
	return nil
}

// batch is where a batch of entries begins and ends in a file, its commit frame included.
type batch struct{ start, end int }

// scanSegment finds the last complete batch, and where its index begins, if it has one.
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
				return last, 0, fmt.Errorf("%w: the entries before byte %d are not as they were written, but those "+
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
