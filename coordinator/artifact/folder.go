package artifact

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

const (
	// incomingFolder has the files that are still being written.
	incomingFolder = "incoming"
	// writeBytes is how many bytes are written at a time.
	writeBytes = 256 << 10
	// maxReserve is the maximum of reserve, in bytes.
	maxReserve = 1 << 30
)

// reserve returns how many bytes of a file system of the given size artifacts leave free. The log is usually on the
// same file system, and a coordinator that can't write its log stops.
func reserve(size uint64) uint64 { return min(size/20, maxReserve) }

// folder is a driver for a local folder.
type folder struct {
	path string
	root *os.Root
	// step performs one change of the folder. Tests count the steps, make them fail, or end the process before one.
	step func(name string, do func() error) error
	// space returns how many bytes of the file system are free for this process, and its size.
	space func(*os.Root) (free, size uint64, err error)

	mu sync.Mutex
	// made has the folders, by their two digits, that are known to survive a crash.
	made map[string]bool
}

// openFolder creates the folder if it does not exist, and removes leftovers of killed processes.
func openFolder(path string) (*folder, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := makeFolders(path); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	step := func(_ string, do func() error) error { return do() }
	f := &folder{path: path, root: root, step: step, space: space, made: map[string]bool{}}
	if err := f.prepare(); err != nil {
		_ = root.Close()
		return nil, err
	}
	return f, nil
}

// makeFolders creates a folder and its parents durably, one after the other. So of the folders that already exist, only
// the last may not be on disk, if a process was killed just then.
func makeFolders(path string) error {
	parent := filepath.Dir(path)
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		if parent != path {
			if err := makeFolders(parent); err != nil {
				return err
			}
		}
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	folder, err := os.Open(parent)
	if errors.Is(err, fs.ErrPermission) {
		return nil // Then it was not this process's user who made the folder.
	}
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

// prepare creates the folder for incoming files, and removes files that no process is writing any more. Other processes
// may be using the same folder.
func (f *folder) prepare() error {
	if err := f.root.Mkdir(incomingFolder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	entries, err := f.entries(incomingFolder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := f.removeLeftover(path.Join(incomingFolder, entry.Name())); err != nil {
			return fmt.Errorf("remove leftovers: %w", err)
		}
	}
	return nil
}

// removeLeftover removes an incoming file, unless the process that writes it is alive.
func (f *folder) removeLeftover(name string) error {
	file, err := f.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // Its process has finished it meanwhile.
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if !lock(file) {
		return nil
	}
	return ignoreNotExist(f.root.Remove(name))
}

func (f *folder) close() error { return f.root.Close() }

// put writes to a file with a random name, and renames it when all of it is on disk.
func (f *folder) put(_ context.Context, content io.Reader, key func() string) error {
	incoming := path.Join(incomingFolder, newCopy())
	name, err := f.write(incoming, content, key)
	if err == nil {
		return nil
	}
	// Nothing of it may be found, not even under its final name, if the folder could not be synced after the rename.
	for _, left := range []string{incoming, name} {
		if left != "" {
			_ = f.root.Remove(left)
		}
	}
	return advise(err, "make room on the file system of "+f.path+", or store artifacts elsewhere with --artifacts")
}

// advise adds advice to the error of a full disk, which becomes ErrNoSpace.
func advise(err error, advice string) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		err = fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	if errors.Is(err, ErrNoSpace) {
		err = fmt.Errorf("%w: %s", err, advice)
	}
	return err
}

// write does the work of put. It returns the file's final name, if it came that far.
func (f *folder) write(incoming string, content io.Reader, key func() string) (name string, err error) {
	var file *os.File
	if err := f.step("create", func() (err error) {
		file, err = f.root.OpenFile(incoming, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	}); err != nil {
		return "", err
	}
	// Closing also releases the lock. It comes last, so that a process that opens the folder does not mistake the file
	// for a leftover.
	defer func() { err = errors.Join(err, file.Close()) }()
	if !lock(file) {
		return "", fmt.Errorf("a process that has just opened the folder took %s for a leftover: try again",
			incoming)
	}
	buffered := bufio.NewWriterSize(&checked{f, file}, writeBytes)
	// ReadFrom would bypass the buffer and write pieces of the sender's size.
	if _, err := io.Copy(struct{ io.Writer }{buffered}, content); err != nil {
		return "", err
	}
	if err := buffered.Flush(); err != nil {
		return "", err
	}
	if err := f.step("sync", file.Sync); err != nil {
		return "", err
	}
	name = key()
	if err := f.makeShard(path.Dir(name)); err != nil {
		return "", err
	}
	if err := f.step("rename", func() error { return f.root.Rename(incoming, name) }); err != nil {
		return "", err
	}
	return name, f.step("sync folder", func() error { return f.sync(path.Dir(name)) })
}

// checked writes to a file as long as enough of the file system is free.
type checked struct {
	folder *folder
	file   *os.File
}

func (c *checked) Write(p []byte) (int, error) {
	free, size, err := c.folder.space(c.folder.root)
	if err != nil {
		return 0, fmt.Errorf("find the free space of the file system: %w", err)
	}
	if free < reserve(size)+uint64(len(p)) {
		return 0, fmt.Errorf("%w: %.1f MB are free, of which %.1f MB are reserved for the log", ErrNoSpace,
			float64(free)/1e6,
			float64(reserve(size))/1e6)
	}
	var n int
	err = c.folder.step("write", func() (err error) {
		n, err = c.file.Write(p)
		return err
	})
	return n, err
}

// makeShard creates a folder for artifacts. A folder that another process has created may not be on disk yet, so the
// first use always syncs. A second Put of this process must wait for that.
func (f *folder) makeShard(shard string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.made[shard] {
		return nil
	}
	err := f.step("make folder", func() error { return f.root.Mkdir(shard, 0o700) })
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := f.step("sync parent", func() error { return f.sync(".") }); err != nil {
		return err
	}
	f.made[shard] = true
	return nil
}

// sync makes the names in a folder durable.
func (f *folder) sync(name string) error {
	folder, err := f.root.Open(name)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

func (f *folder) open(_ context.Context, key string) (io.ReadCloser, error) {
	file, err := f.root.Open(key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	return file, err
}

func (f *folder) list(_ context.Context, prefix string) iter.Seq2[Artifact, error] {
	return func(yield func(Artifact, error) bool) {
		shards, err := f.shards(prefix)
		if err != nil {
			yield(Artifact{}, err)
			return
		}
		for _, shard := range shards {
			entries, err := f.entries(shard)
			for i := 0; err == nil && i < len(entries); i++ {
				artifact, ours := parseKey(shard + "/" + entries[i].Name())
				if !ours || !strings.HasPrefix(artifact.key(), prefix) {
					continue
				}
				var info fs.FileInfo
				info, err = entries[i].Info()
				if errors.Is(err, fs.ErrNotExist) {
					err = nil
					continue
				}
				if err != nil {
					break
				}
				artifact.Size, artifact.Modified = info.Size(), info.ModTime()
				if !yield(artifact, nil) {
					return
				}
			}
			if err != nil {
				yield(Artifact{}, err)
				return
			}
		}
	}
}

// shards returns the folders in which keys with the prefix may be.
func (f *folder) shards(prefix string) ([]string, error) {
	if shard, _, found := strings.Cut(prefix, "/"); found {
		return []string{shard}, nil
	}
	entries, err := f.entries(".")
	if err != nil {
		return nil, err
	}
	var shards []string
	for _, entry := range entries {
		if entry.IsDir() && len(entry.Name()) == 2 {
			shards = append(shards, entry.Name())
		}
	}
	return shards, nil
}

// entries returns the entries of a folder, and nothing if it does not exist.
func (f *folder) entries(name string) ([]fs.DirEntry, error) {
	folder, err := f.root.Open(name)
	if err != nil {
		return nil, ignoreNotExist(err)
	}
	defer folder.Close()
	return folder.ReadDir(-1)
}

// remove deletes a file. This need not be durable: a file that reappears after a crash is deleted again.
func (f *folder) remove(_ context.Context, key string) error {
	return ignoreNotExist(f.step("remove", func() error { return f.root.Remove(key) }))
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// newCopy returns 16 random hexadecimal digits.
func newCopy() string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // It never fails: see crypto/rand.
	return hex.EncodeToString(random[:])
}
