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
	"sync"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// folder is where the files of programs are, within the worker's cache.
	folder = "programs"
	// maxBytes is how many bytes of them are kept for the next runs. Those in use are kept anyway.
	maxBytes = 4 << 30
	// temporaryPrefix begins the names of files that are being downloaded. After temporaryAge, they were left behind by a
	// process that died.
	temporaryPrefix = ".download-"
	temporaryAge    = 24 * time.Hour
)

// Cache keeps packed files of programs on disk, each under its digest. Several workers may share a folder: a file is
// complete when it appears.
type Cache struct {
	dir string
	// fetch writes an artifact to a file.
	fetch func(ctx context.Context, files *trellisv1.Files, to *os.File, moved func()) error

	// turn is held by whoever downloads, so that attempts that need the same files download them once.
	turn chan struct{}

	mu sync.Mutex
	// used counts the attempts that use a file, by digest.
	used map[string]int
}

// NewCache returns the cache within a folder. fetch writes an artifact to a file, and calls moved as it comes.
func NewCache(
	cacheDir string, fetch func(ctx context.Context, files *trellisv1.Files, to *os.File, moved func()) error,
) *Cache {
	return &Cache{
		dir: filepath.Join(cacheDir, folder), fetch: fetch, turn: make(chan struct{}, 1), used: map[string]int{},
	}
}

// Get returns the path of packed files, which it downloads if they are not there. They stay until release is called.
func (c *Cache) Get(
	ctx context.Context, files *trellisv1.Files, moved func(),
) (path string, release func(), err error) {
	digest := files.GetSha256()
	path = filepath.Join(c.dir, digest)
	c.use(digest, 1)
	release = sync.OnceFunc(func() { c.use(digest, -1) })
	if err := c.ensure(ctx, files, path, moved); err != nil {
		release()
		return "", nil, err
	}
	return path, release, nil
}

func (c *Cache) use(digest string, more int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used[digest] += more; c.used[digest] == 0 {
		delete(c.used, digest)
	}
}

// ensure downloads files unless they are there.
func (c *Cache) ensure(ctx context.Context, files *trellisv1.Files, path string, moved func()) error {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	// A full disk may have cut a file short, and programs run as the worker's user may have changed it.
	if isWhole(path, files) {
		now := time.Now()
		_ = os.Chtimes(path, now, now) // It only says which file was used last.
		return nil
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(c.dir, temporaryPrefix+"*")
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	err = c.fetch(ctx, files, temporary, moved)
	if closed := temporary.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	if err := os.Rename(temporary.Name(), path); err != nil {
		return err
	}
	return c.sweep(time.Now())
}

// isWhole says whether a file has the content that its digest says.
func isWhole(path string, files *trellisv1.Files) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || uint64(info.Size()) != files.GetSize() {
		return false
	}
	hash := sha256.New()
	_, err = io.Copy(hash, file)
	return err == nil && hex.EncodeToString(hash.Sum(nil)) == files.GetSha256()
}

// sweep removes the files that were used the longest time ago while there are more than fit, and what was left behind.
func (c *Cache) sweep(now time.Time) error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	var kept []fs.FileInfo
	total := int64(0)
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			continue // Another worker has removed it.
		}
		if len(info.Name()) > len(temporaryPrefix) && info.Name()[:len(temporaryPrefix)] == temporaryPrefix {
			if now.Sub(info.ModTime()) > temporaryAge {
				_ = os.Remove(filepath.Join(c.dir, info.Name()))
			}
			continue
		}
		kept, total = append(kept, info), total+info.Size()
	}
	slices.SortFunc(kept, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, info := range kept {
		if total <= maxBytes {
			break
		}
		if c.used[info.Name()] > 0 {
			continue
		}
		if err := os.Remove(filepath.Join(c.dir, info.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("make room in the cache: %w", err)
		}
		total -= info.Size()
	}
	return nil
}
