package dataset

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Cache stores files of data sets on disk, each under the SHA-256 of its content. Any number of processes may share a
// folder: files are complete when they appear, and two files with the same name are equal.
type Cache struct {
	// Dir is created when it is first needed.
	Dir string
	// MaxBytes is the maximum size of a data set, uncompressed. 0: DefaultMaxBytes.
	MaxBytes int64

	// turn is held by whoever fetches, so that goroutines that want the same files download them once.
	turn chan struct{}
}

// download writes a file's uncompressed content to w. It ends with ctx, and when writing to w fails.
type download = func(ctx context.Context, f File, w io.Writer) error

// What is being downloaded has a name with this prefix. After a day, it has been left behind by a process that died.
const (
	temporaryPrefix = ".download-"
	temporaryAge    = 24 * time.Hour
)

var sha256Pattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// NewCache returns the cache in a folder.
func NewCache(dir string) *Cache { return &Cache{Dir: dir, turn: make(chan struct{}, 1)} }

// Fetch returns the data set with the digest and the files. It downloads files that are missing or damaged in the
// cache. It returns ErrInvalid if the arguments contradict each other, or if a downloaded file is not the requested
// one, and ErrTooLarge if the files are larger than MaxBytes. Files that were complete before an error stay in the
// cache.
func (c *Cache) Fetch(ctx context.Context, digest string, files []File, download download) (*Set, error) {
	if err := c.check(digest, files); err != nil {
		return nil, fmt.Errorf("fetch data set %q: %w", digest, err)
	}
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("fetch data set %s: %w", digest, context.Cause(ctx))
	}
	set, err := c.fetch(ctx, files, download)
	if err != nil {
		return nil, fmt.Errorf("fetch data set %s: %w", digest, err)
	}
	return set, nil
}

// check looks at what is asked for, which came over the network.
func (c *Cache) check(digest string, files []File) error {
	if len(files) != 2 && len(files) != len(FileNames) {
		return invalidf("a data set has %d files, or 2 without labels, not %d", len(FileNames), len(files))
	}
	want := fileNames(files[0].kind() == channelsKind, len(files) > 2)
	for i, f := range files {
		switch {
		case f.Name != want[i]:
			return invalidf("file %d of a data set is %s, not %q", i+1, want[i], f.Name)
		case !sha256Pattern.MatchString(f.SHA256):
			return invalidf("%s has the SHA-256 %q, which is none", f.Name, f.SHA256)
		case f.Size < 1:
			return invalidf("%s has a size of %d bytes", f.Name, f.Size)
		}
	}
	if found := Digest(files); found != digest {
		return invalidf("the digest of these files is %s", found)
	}
	return checkTotal(files, cmp.Or(c.MaxBytes, DefaultMaxBytes))
}

func (c *Cache) fetch(ctx context.Context, files []File, download download) (*Set, error) {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(c.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if err := sweep(root, time.Now()); err != nil {
		return nil, err
	}
	kept := slices.Clone(files)
	var missing []File
	var bytes int64
	for i := range kept {
		f := &kept[i]
		if f.place = place(filepath.Join(c.Dir, f.SHA256)); f.verify() != nil {
			missing = append(missing, *f)
			bytes += f.Size
		}
	}
	if err := c.checkRoom(bytes); err != nil {
		return nil, err
	}
	for _, f := range missing {
		if err := store(ctx, root, f, download); err != nil {
			return nil, fmt.Errorf("download %s: %w", f.Name, err)
		}
	}
	return newSet("", kept)
}

// checkBytes is how much Check writes.
const checkBytes = 64 << 10

// Check returns an error if nothing can be stored in the cache. It creates the folder.
func (c *Cache) Check() (err error) {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return err
	}
	file, err := os.CreateTemp(c.Dir, temporaryPrefix)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	if _, err := file.Write(make([]byte, checkBytes)); err != nil {
		return err
	}
	return file.Sync()
}

// checkRoom says whether so many bytes can be kept. Where that can't be told, they can.
func (c *Cache) checkRoom(bytes int64) error {
	free, err := freeBytes(c.Dir)
	if err != nil || bytes <= 0 || free >= uint64(bytes) {
		return nil
	}
	return fmt.Errorf("%d bytes are needed and %d are free: %w", bytes, free,
		&fs.PathError{Op: "write", Path: c.Dir, Err: syscall.ENOSPC})
}

// store downloads a file under a temporary name and moves it to its place once it is verified and on disk.
func store(ctx context.Context, root *os.Root, f File, download download) (err error) {
	temporary := temporaryPrefix + rand.Text()
	file, err := root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, root.Remove(temporary))
		}
	}()
	if err := write(ctx, file, f, download); err != nil {
		return errors.Join(err, file.Close())
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := root.Rename(temporary, f.SHA256); err != nil {
		return err
	}
	return syncFolder(root)
}

func write(ctx context.Context, file *os.File, f File, download download) error {
	v := newVerifier(f)
	if err := download(ctx, f, io.MultiWriter(v, file)); err != nil {
		return err
	}
	if err := v.verify(); err != nil {
		return err
	}
	return file.Sync()
}

// syncFolder makes a renaming last.
func syncFolder(root *os.Root) error {
	folder, err := root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// sweep removes what processes that died have left behind.
func sweep(root *os.Root, now time.Time) error {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), temporaryPrefix) {
			continue
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // Another process was faster.
		}
		if err != nil {
			return err
		}
		if now.Sub(info.ModTime()) < temporaryAge {
			continue
		}
		if err := root.Remove(entry.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
