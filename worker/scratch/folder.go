package scratch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"trellis/worker/supervisor"
)

// Folder is a folder of this process. Remove it in the end.
type Folder struct {
	path string
	// held is the open folder, which is locked until it is closed, in whatever way.
	held *os.File
}

// attempts is how often a folder is made that someone else takes for one that was left.
const attempts = 10

// Make makes a folder in parent, which must be there. Its name begins with prefix. Other folders whose names do, and that
// were left by processes of the same user, are removed.
func Make(parent, prefix string) (*Folder, error) {
	sweep(parent, prefix)
	for range attempts {
		path, err := os.MkdirTemp(parent, prefix)
		if err != nil {
			return nil, err
		}
		// Another process may be sweeping, and have taken the folder before it was locked.
		held, err := os.Open(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, errors.Join(err, os.Remove(path))
		}
		if lock(held) != taken && same(held, path) {
			return &Folder{path, held}, nil
		}
		held.Close()
	}
	return nil, fmt.Errorf("make a folder in %s: others remove it", parent)
}

// Path is the folder's path.
func (f *Folder) Path() string { return f.path }

// Stands says whether the folder is still there: whatever runs in it may have removed or replaced it. Nil does not stand.
func (f *Folder) Stands() bool { return f != nil && same(f.held, f.path) }

// Remove removes the folder with everything in it, but nothing that has replaced it. Nil is none.
func (f *Folder) Remove() error {
	if f == nil {
		return nil
	}
	defer f.held.Close()
	if !f.Stands() {
		return nil
	}
	return supervisor.RemoveAll(f.path)
}

// sweep removes folders that nobody holds. What can't be removed stays: it is in nobody's way.
func sweep(parent, prefix string) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if !entry.IsDir() || !strings.HasPrefix(entry.Name(), prefix) {
			continue
		}
		path := filepath.Join(parent, entry.Name())
		if held, err := os.Open(path); err == nil {
			if own(held) && same(held, path) && lock(held) == locked {
				_ = supervisor.RemoveAll(path)
			}
			held.Close()
		}
	}
}

// same says whether an open folder is what has the path.
func same(held *os.File, path string) bool {
	opened, err := held.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(opened, named)
}

// outcome is what comes of locking.
type outcome int

const (
	locked outcome = iota
	// taken means that another process has the lock.
	taken
	// unknown means that there are no locks here. Then nothing is removed.
	unknown
)
