package files

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/worker/supervisor"
)

const (
	// folder is where the files of programs are, within the worker's cache.
	folder = "programs"
	// maxBytes is how many bytes of them are kept for the next runs, by all workers of the folder together. Those in use
	// are kept anyway, until they are not.
	maxBytes = 4 << 30
	// temporaryPrefix begins the names of files that are being downloaded.
	temporaryPrefix = ".download-"
)

// Cache keeps packed files of programs on disk, each under its digest. Several workers may share a folder: a file is
// complete when it appears, and whoever uses one holds a lock on it, which ends with its process.
type Cache struct {
	dir string
	// fetch writes an artifact to a file.
	fetch func(ctx context.Context, files *trellisv1.Files, to *os.File, moved func()) error
	// turn is held by whoever downloads, so that attempts that need the same files download them once.
	turn chan struct{}
}

// NewCache returns the cache within a folder, and removes from it what does not fit. fetch writes an artifact to a file,
// and calls moved as it comes.
func NewCache(
	cacheDir string, fetch func(ctx context.Context, files *trellisv1.Files, to *os.File, moved func()) error,
) *Cache {
	c := &Cache{dir: filepath.Join(cacheDir, folder), fetch: fetch, turn: make(chan struct{}, 1)}
	_ = c.sweep() // It is tried again with the next files.
	return c
}

// Get returns the path of packed files, which it downloads if they are not there. They stay until release is called.
func (c *Cache) Get(
	ctx context.Context, files *trellisv1.Files, moved func(),
) (path string, release func(), err error) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return "", nil, context.Cause(ctx)
	}
	path = filepath.Join(c.dir, files.GetSha256())
	held := hold(path)
	// A full disk may have cut a file short, and programs run as the worker's user may have changed it.
	if held == nil || !isWhole(held, files) {
		held.Close()
		if held, err = c.download(ctx, files, path, moved); err != nil {
			return "", nil, err
		}
	}
	now := time.Now()
	_ = os.Chtimes(path, now, now) // It only says which file was used last.
	// What was kept because it was in use may be too much now.
	return path, sync.OnceFunc(func() { _ = errors.Join(held.Close(), c.sweep()) }), nil
}

// hold opens a file and locks it, so that nobody makes room by removing it. It returns nil if there is none.
func hold(path string) *os.File {
	for {
		file, err := Open(path)
		if err != nil {
			return nil
		}
		if !lock(file, false) {
			file.Close()
			return nil
		}
		// Between the two, it may have been removed.
		if same(file, path) {
			return file
		}
		file.Close()
	}
}

// same says whether an open file is what has the path.
func same(file *os.File, path string) bool {
	opened, err := file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(opened, named)
}

// download downloads files, and returns them open and locked.
func (c *Cache) download(
	ctx context.Context, files *trellisv1.Files, path string, moved func(),
) (held *os.File, err error) {
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return nil, err
	}
	temporary, err := createTemporary(c.dir)
	if err != nil {
		return nil, err
	}
	defer os.Remove(temporary.Name())
	defer func() {
		if err != nil {
			temporary.Close()
		}
	}()
	if err := c.fetch(ctx, files, temporary, moved); err != nil {
		return nil, err
	}
	// A folder there, or anything else, is a program's doing.
	if err := os.Rename(temporary.Name(), path); err != nil {
		if err = errors.Join(supervisor.RemoveAll(path), os.Rename(temporary.Name(), path)); err != nil {
			return nil, err
		}
	}
	return temporary, c.sweep()
}

// createTemporary creates a file that nobody takes for one that was left.
func createTemporary(dir string) (*os.File, error) {
	for {
		temporary, err := os.CreateTemp(dir, temporaryPrefix+"*")
		if err != nil {
			return nil, err
		}
		if lock(temporary, false) && same(temporary, temporary.Name()) {
			return temporary, nil
		}
		temporary.Close() // Another worker has seen it before it was locked.
	}
}

// isWhole says whether a file has the content that its digest says.
func isWhole(file *os.File, files *trellisv1.Files) bool {
	if info, err := file.Stat(); err != nil || uint64(info.Size()) != files.GetSize() {
		return false
	}
	hash := sha256.New()
	_, err := io.Copy(hash, file)
	return err == nil && hex.EncodeToString(hash.Sum(nil)) == files.GetSha256()
}

// sweep removes the files that nobody uses and that were used the longest time ago, while there are more than fit, and
// what was left behind.
func (c *Cache) sweep() error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	var kept []fs.FileInfo
	total := int64(0)
	for _, entry := range entries {
		info, err := entry.Info()
		switch {
		case err != nil: // Another worker has removed it.
		case strings.HasPrefix(info.Name(), temporaryPrefix) && c.remove(info.Name()) == nil:
		default:
			kept, total = append(kept, info), total+info.Size()
		}
	}
	slices.SortFunc(kept, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, info := range kept {
		if total <= maxBytes {
			break
		}
		switch err := c.remove(info.Name()); {
		case err == nil:
			total -= info.Size()
		case !errors.Is(err, errUsed):
			return fmt.Errorf("make room in the cache: %w", err)
		}
	}
	return nil
}

// errUsed means that someone uses a file.
var errUsed = errors.New("it is used")

// remove removes a file that nobody uses.
func (c *Cache) remove(name string) error {
	path := filepath.Join(c.dir, name)
	file, err := Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		defer file.Close()
		if !lock(file, true) {
			return errUsed
		}
	}
	// What can't be opened is no file of the cache.
	return supervisor.RemoveAll(path)
}
