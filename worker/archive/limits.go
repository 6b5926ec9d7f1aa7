package archive

import (
	"errors"
	"fmt"
)

// Limits bound what is packed and unpacked.
type Limits struct {
	// Files is how many files and folders there may be.
	Files int
	// Bytes is how many bytes all files may have together, before compression.
	Bytes int64
}

// Defaults of Limits: of a program's files and of its checkpoints.
const (
	DefaultFiles           = 100_000
	DefaultFileBytes       = 1 << 30
	DefaultCheckpointBytes = 64 << 30
)

// maxName is how many bytes the path of a file may have, and maxDepth how deep it may lie.
const (
	maxName  = 4096
	maxDepth = 256
)

// ErrLimit is wrapped by errors of folders and archives that exceed Limits.
var ErrLimit = errors.New("too large to pack")

// ErrChanged is wrapped by errors of folders that changed while they were packed.
var ErrChanged = errors.New("it changed while it was packed")

// ErrInvalid is wrapped by errors of archives that Pack has not made.
var ErrInvalid = errors.New("not a valid archive")

// Info describes an archive.
type Info struct {
	// SHA256 is the digest of the archive's bytes, 64 lower-case hexadecimal digits, and Size their number.
	SHA256 string
	Size   int64
	// Files is how many files it contains, and Bytes how many bytes they have before compression.
	Files int
	Bytes int64
}

// tally counts what was packed or unpacked.
type tally struct {
	limits  Limits
	entries int
	files   int
	bytes   int64
}

// entry counts a file or folder more.
func (t *tally) entry() error {
	if t.entries++; t.entries > t.limits.Files {
		return fmt.Errorf("%w: more than %d files", ErrLimit, t.limits.Files)
	}
	return nil
}

// file counts a file's bytes.
func (t *tally) file(size int64) error {
	t.files++
	if size < 0 || size > t.limits.Bytes-t.bytes {
		return fmt.Errorf("%w: more than %d bytes", ErrLimit, t.limits.Bytes)
	}
	t.bytes += size
	return nil
}
