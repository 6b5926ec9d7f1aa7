package replication

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/hashicorp/raft"
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
		// Syncing through another file of the same name syncs what the sink has written.
		guarded.file, err = os.OpenFile(filepath.Join(s.dir, sink.ID()+temporarySuffix, "state.bin"), os.O_WRONLY, 0)
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
	meta, source, err := s.SnapshotStore.Open(id)
	if err != nil {
		err = fmt.Errorf("the snapshot %s in %s is %w: %w: restore a backup into an empty directory, or remove the "+
			"node from its cluster and add it again with an empty one", id, s.dir, ErrDamaged, err)
		s.failed.Store(&err)
		return nil, nil, err
	}
	return meta, &indexedSource{ReadCloser: source, index: meta.Index}, nil
}

// indexedSource reads a snapshot.
type indexedSource struct {
	io.ReadCloser
	index uint64
}

// syncEvery is after how many bytes of a snapshot these are synced. Syncing all of it at once would hold up every sync
// of the log that begins in the meantime, for as long as the disk takes to write it.
const syncEvery = 4 << 20

// guardedSink is a snapshot that is being written.
type guardedSink struct {
	raft.SnapshotSink
	snapshots *guardedSnapshots
	// file is that of the state, nil if the snapshot is in memory. unsynced counts what has been written since it was
	// synced.
	file     *os.File
	unsynced int
}

func (s *guardedSink) Write(data []byte) (n int, err error) {
	select {
	case <-s.snapshots.stopping:
		return 0, ErrClosed
	default:
	}
	err = s.snapshots.guard.slowly("write a snapshot to "+s.snapshots.dir, func() (err error) {
		if n, err = s.SnapshotSink.Write(data); err != nil || s.file == nil {
			return err
		}
		if s.unsynced += n; s.unsynced < syncEvery {
			return nil
		}
		s.unsynced = 0
		return s.file.Sync()
	})
	return n, err
}

// Close makes the snapshot durable, starting with the names of its files.
func (s *guardedSink) Close() error {
	defer s.release()
	return s.snapshots.guard.slowly("finish a snapshot in "+s.snapshots.dir, func() error {
		if s.snapshots.dir != "" {
			if err := syncFolder(filepath.Join(s.snapshots.dir, s.ID()+temporarySuffix)); err != nil &&
				!os.IsNotExist(err) {
				return fmt.Errorf("sync the snapshot's folder: %w", err)
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

// release closes the file.
func (s *guardedSink) release() {
	if s.file != nil {
		s.file.Close()
	}
}
