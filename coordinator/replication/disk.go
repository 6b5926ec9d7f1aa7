package replication

import (
	"fmt"
	"os"
	"path/filepath"

	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"github.com/hashicorp/go-hclog"
)

// segmentSize is the size of a file of the log in bytes. It is allocated when the file is created.
const segmentSize = 16 << 20

// openWAL opens the log in an existing folder. Everything that it writes, even in the background, goes through the
// guard.
func openWAL(dir string, guard *guard, files types.VFS, logger hclog.Logger) (*wal.WAL, error) {
	log, err := wal.Open(dir,
		wal.WithSegmentFiler(&filer{Filer: segment.NewFiler(dir, &guardedFiles{VFS: files, guard: guard}), dir: dir}),
		wal.WithMetaStore(&guardedMeta{guard: guard}),
		wal.WithSegmentSize(segmentSize),
		wal.WithLogger(logger))
	if err != nil {
		return nil, fmt.Errorf("open the log in %s: %w", dir, err)
	}
	return log, nil
}

// filer repairs the log's last file before the log continues in it.
type filer struct {
	*segment.Filer
	dir string
}

var _ types.SegmentFiler = (*filer)(nil)

// RecoverTail opens the file that entries are appended to.
func (f *filer) RecoverTail(info types.SegmentInfo) (types.SegmentWriter, error) {
	if err := mendSegment(filepath.Join(f.dir, segment.FileName(info))); err != nil {
		return nil, err
	}
	return f.Filer.RecoverTail(info)
}

// guardedFiles are the files of the log.
type guardedFiles struct {
	types.VFS
	guard *guard
}

// Create creates a file of the log.
func (f *guardedFiles) Create(dir, name string, size uint64) (types.WritableFile, error) {
	var file types.WritableFile
	err := f.guard.write("create "+filepath.Join(dir, name), func() (err error) {
		file, err = f.VFS.Create(dir, name, size)
		return err
	})
	if err != nil {
		return nil, err
	}
	return f.file(file, filepath.Join(dir, name))
}

// OpenWriter opens a file of the log to continue writing it.
func (f *guardedFiles) OpenWriter(dir, name string) (types.WritableFile, error) {
	file, err := f.VFS.OpenWriter(dir, name)
	if err != nil {
		return nil, err
	}
	return f.file(file, filepath.Join(dir, name))
}

func (f *guardedFiles) file(file types.WritableFile, path string) (types.WritableFile, error) {
	opened, err := present(path)
	if err != nil {
		file.Close()
		return nil, err
	}
	return &guardedFile{WritableFile: file, guard: f.guard, path: path, opened: opened}, nil
}

// Delete removes a file of the log that is no longer needed.
func (f *guardedFiles) Delete(dir, name string) error {
	return f.guard.write("remove "+filepath.Join(dir, name), func() error { return f.VFS.Delete(dir, name) })
}

// guardedFile is a file of the log that entries are appended to.
type guardedFile struct {
	types.WritableFile
	guard  *guard
	path   string
	opened presence
}

func (f *guardedFile) WriteAt(data []byte, offset int64) (n int, err error) {
	err = f.guard.write("write to "+f.path, func() (err error) {
		n, err = f.WritableFile.WriteAt(data, offset)
		return err
	})
	return n, err
}

// Sync makes durable what was written. What was written to a file that has been deleted is not durable.
func (f *guardedFile) Sync() error {
	return f.guard.write("sync "+f.path, func() error {
		if err := f.WritableFile.Sync(); err != nil {
			return err
		}
		return f.opened.check()
	})
}

// guardedMeta is the log's list of files, and the node's term and vote.
type guardedMeta struct {
	metadb.BoltMetaDB
	guard *guard
	path  string
}

// Load opens the file. It first copies an existing file: after a failed fsync the kernel may return data that the disk
// does not have, and bbolt would rely on it.
func (m *guardedMeta) Load(dir string) (types.PersistentState, error) {
	m.path = filepath.Join(dir, metadb.FileName)
	var state types.PersistentState
	err := m.guard.write("open "+m.path, func() error {
		content, err := os.ReadFile(m.path)
		switch {
		case err == nil:
			if err := writeFile(m.path, content); err != nil {
				return err
			}
		case !os.IsNotExist(err):
			return err
		}
		state, err = m.BoltMetaDB.Load(dir)
		return err
	})
	return state, err
}

// CommitState replaces the list of files.
func (m *guardedMeta) CommitState(state types.PersistentState) error {
	return m.guard.write("write to "+m.path, func() error { return m.BoltMetaDB.CommitState(state) })
}

// SetStable writes the term or the vote.
func (m *guardedMeta) SetStable(key, value []byte) error {
	return m.guard.write("write to "+m.path, func() error { return m.BoltMetaDB.SetStable(key, value) })
}

// writeFile replaces a file atomically and durably.
func writeFile(path string, content []byte) (err error) {
	temporary := path + temporarySuffix
	file, err := os.OpenFile(temporary, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			file.Close()
			os.Remove(temporary)
		}
	}()
	if _, err := file.Write(content); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes the names in a folder durable.
func syncFolder(dir string) error {
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

// files returns the operating system's files.
func files() types.VFS { return fs.New() }
