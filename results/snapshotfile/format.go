package snapshotfile

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
)

const (
	// Version is the version of the format that a Writer writes, and the latest that a Reader reads.
	Version = 8
	// HeadSize is the size of a block's head in bytes: the length of its payload, the checksum of its payload, and the
	// checksum of the head, 4 bytes each.
	HeadSize = 12
	// BlockSize is the approximate size of a block's payload in bytes. A single row may make it larger: whatever the
	// store holds is written. Version 0.1.0 refuses to read more than 64 MiB.
	BlockSize = 64 << 10
	// MaxBlockSize is the maximum size of a payload: that of its length in a head. No message is as large.
	MaxBlockSize = math.MaxUint32
	// magic is the beginning of every file.
	magic = "trellis results\n"
)

// Errors of a Reader.
var (
	// ErrCorrupt means that the data is not a snapshot, is cut off, or has changed since it was written.
	ErrCorrupt = errors.New("damaged snapshot")
	// ErrNewer means that a newer version of Trellis wrote the snapshot, in a format that this version does not know.
	ErrNewer = errors.New("snapshot of a newer version of Trellis")
)

// castagnoli is the polynomial of all checksums.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header returns the header of a file of the given version.
func Header(version uint32) []byte {
	header := binary.BigEndian.AppendUint32([]byte(magic), version)
	return binary.BigEndian.AppendUint32(header, crc32.Checksum(header, castagnoli))
}

// PutHead writes the head of a block, HeadSize bytes, given the block's number in the file, from 0, and its payload.
func PutHead(head []byte, number uint64, payload []byte) {
	binary.BigEndian.PutUint32(head, uint32(len(payload)))
	binary.BigEndian.PutUint32(head[4:], crc32.Checksum(payload, castagnoli))
	binary.BigEndian.PutUint32(head[8:], headChecksum(number, head))
}

// headChecksum returns the checksum of a block's head and of the block's number. The number is not written. It makes
// missing and misplaced blocks detectable.
func headChecksum(number uint64, head []byte) uint32 {
	sum := crc32.Checksum(binary.BigEndian.AppendUint64(nil, number), castagnoli)
	return crc32.Update(sum, castagnoli, head[:8])
}
