package replication

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

const (
	// stateName is the file of a snapshot's state.
	stateName = "state.bin"
	// checksumName is the file of the state's CRC-32C, in hexadecimal digits. Raft's own checksum of the state is a CRC-64, for
	// which processors have no instruction: it would cost as much as the rest of a snapshot.
	checksumName = "state.crc32c"
)

// guardedSnapshots are the node's snapshots behind a guard.
type guardedSnapshots struct {
	raft.SnapshotStore
	guard *guard
	// dir is where the snapshots are. It is empty if they are in memory.
	dir string
	// stopping is closed when the node stops. A snapshot that is being written is then abandoned.
	stopping <-chan struct{}
	// from is the index of the oldest snapshot that the node may start from: everything after it is in the log.
	from uint64
	// failed is the error of the last snapshot that could not be opened.
	failed atomic.Pointer[error]
}

// unreadable returns the error of a snapshot that could not be opened, or nil.
func (s *guardedSnapshots) unreadable() error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// Create begins a snapshot.
func (s *guardedSnapshots) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, transport raft.Transport,
) (raft.SnapshotSink, error) {
	var sink raft.SnapshotSink
	err := s.guard.slowly("begin a snapshot in "+s.dir, func() (err error) {
		sink, err = s.SnapshotStore.Create(version, index, term, configuration, configurationIndex, transport)
		return err
	})
	if err != nil {
		return nil, err
	}
	guarded := &guardedSink{SnapshotSink: sink, snapshots: s}
	if s.dir != "" {
		guarded.folder, guarded.sum = filepath.Join(s.dir, sink.ID()+temporarySuffix), crc32.New(castagnoli)
		guarded.file, err = os.OpenFile(filepath.Join(guarded.folder, stateName), os.O_WRONLY, 0)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open the snapshot that was begun: %w", err), sink.Cancel())
		}
	}
	return guarded, nil
}

// List returns the snapshots that the node may start from, newest first.
func (s *guardedSnapshots) List() ([]*raft.SnapshotMeta, error) {
	all, err := s.SnapshotStore.List()
	return slices.DeleteFunc(all, func(meta *raft.SnapshotMeta) bool { return meta.Index < s.from }), err
}

// Open opens a snapshot. The reader knows the snapshot's index.
func (s *guardedSnapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, source, err := s.open(id)
	if err != nil {
		err = fmt.Errorf("the snapshot %s in %s is %w: %w: restore a backup into an empty directory, or remove the "+
			"node from its cluster and add it again with an empty one", id, s.dir, ErrDamaged, err)
		s.failed.Store(&err)
		return nil, nil, err
	}
	return meta, &indexedSource{ReadCloser: source, index: meta.Index}, nil
}

// open opens a snapshot after checking all of its state.
func (s *guardedSnapshots) open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	folder := filepath.Join(s.dir, id)
	want, err := os.ReadFile(filepath.Join(folder, checksumName))
	if s.dir == "" || errors.Is(err, fs.ErrNotExist) {
		// It is in memory, or of format 1.
		return s.SnapshotStore.Open(id)
	}
	if err != nil {
		return nil, nil, err
	}
	all, err := s.SnapshotStore.List()
	if err != nil {
		return nil, nil, err
	}
	at := slices.IndexFunc(all, func(meta *raft.SnapshotMeta) bool { return meta.ID == id })
	if at < 0 {
		return nil, nil, errors.New("its meta.json can't be read")
	}
	state, err := os.Open(filepath.Join(folder, stateName))
	if err != nil {
		return nil, nil, err
	}
	sum := crc32.New(castagnoli)
	if _, err = io.Copy(sum, state); err == nil {
		_, err = state.Seek(0, io.SeekStart)
	}
	if got := checksum(sum); err == nil && got != string(want) {
		err = fmt.Errorf("%s has the CRC-32C %q, but %s says %q", stateName, got, checksumName, want)
	}
	if err != nil {
		return nil, nil, errors.Join(err, state.Close())
	}
	return all[at], state, nil
}

// checksum returns the content of the file of a state's checksum.
func checksum(sum hash.Hash32) string { return hex.EncodeToString(sum.Sum(nil)) + "\n" }

// indexedSource reads a snapshot.
type indexedSource struct {
	io.ReadCloser
	index uint64
}

// syncEvery is after how many bytes of a snapshot these are synced. Syncing all of it at once would hold up every sync
// of the log that begins in the meantime, for as long as the disk takes to write it.
const syncEvery = 4 << 20

// guardedSink is a snapshot that is being written. On a disk, the state goes past raft's sink into its file.
type guardedSink struct {
	raft.SnapshotSink
	snapshots *guardedSnapshots
	// folder and file are those of the state, and sum is its checksum. They are empty if the snapshot is in memory.
	folder string
	file   *os.File
	sum    hash.Hash32
	// unsynced counts what has been written to the file since it was synced.
	unsynced int
	// closed says that it was closed or canceled: raft closes again what Persist has closed.
	closed bool
}

func (s *guardedSink) Write(data []byte) (n int, err error) {
	select {
	case <-s.snapshots.stopping:
		return 0, ErrClosed
	default:
	}
	err = s.snapshots.guard.slowly("write a snapshot to "+s.snapshots.dir, func() (err error) {
		if s.file == nil {
			n, err = s.SnapshotSink.Write(data)
			return err
		}
		if n, err = s.file.Write(data); err != nil {
			return err
		}
		s.sum.Write(data) // It never fails.
		if s.unsynced += n; s.unsynced < syncEvery {
			return nil
		}
		s.unsynced = 0
		return s.file.Sync()
	})
	return n, err
}

// Close makes the snapshot durable: its checksum, the names of its files, and then all that raft knows of.
func (s *guardedSink) Close() error {
	if s.closed {
		return nil
	}
	defer s.release()
	return s.snapshots.guard.slowly("finish a snapshot in "+s.snapshots.dir, func() error {
		if s.file != nil {
			if err := writeFile(filepath.Join(s.folder, checksumName), []byte(checksum(s.sum))); err != nil {
				return errors.Join(fmt.Errorf("write the snapshot's checksum: %w", err), s.SnapshotSink.Cancel())
			}
		}
		return s.SnapshotSink.Close()
	})
}

// Cancel removes the snapshot.
func (s *guardedSink) Cancel() error {
	defer s.release()
	return s.SnapshotSink.Cancel()
}

// release notes that the snapshot was closed or canceled, and closes its file.
func (s *guardedSink) release() {
	s.closed = true
	if s.file != nil {
		s.file.Close()
	}
}
