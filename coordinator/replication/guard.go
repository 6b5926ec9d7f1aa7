package replication

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// guard lets writes to the disk through until the first one fails or hangs, which ends the node. After an error of
// fsync, nobody knows what is on the disk: Linux may have dropped the data that it could not write, and the next fsync
// would succeed.
type guard struct {
	failure *failure
	// stall is how long a write may take.
	stall time.Duration
	// fault is called before each write in tests. It may make the write fail or delay it.
	fault func(what string) error
}

// write runs one write, if none has failed before. what describes the write, including its file or folder. Success is
// reported only if nothing else has failed in the meantime.
func (g *guard) write(what string, write func() error) error {
	timer := time.AfterFunc(g.stall, func() {
		g.failure.set(fmt.Errorf("%s takes longer than %v: the disk hangs: check it, then start again", what, g.stall))
	})
	defer timer.Stop()
	return g.slowly(what, write)
}

// slowly is like write, without a time limit.
func (g *guard) slowly(what string, write func() error) error {
	if err := g.failure.err(); err != nil {
		return err
	}
	var err error
	if g.fault != nil {
		err = g.fault(what)
	}
	if err == nil {
		err = write()
	}
	if err != nil {
		// what already names the path.
		var named *fs.PathError
		if errors.As(err, &named) {
			err = named.Err
		}
		g.failure.set(fmt.Errorf("%s: %w: %s", what, err, remedy(err)))
	}
	return g.failure.err()
}

// remedy says what to do about a disk error.
func remedy(err error) string {
	switch {
	case errors.Is(err, errGone):
		return "put it back, or restore a backup into an empty directory, then start again"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "make room on the disk, then start again: nothing that was acknowledged is lost"
	case errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return "make the data directory writable, then start again: nothing that was acknowledged is lost"
	case errors.Is(err, syscall.EFBIG), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "raise the limit, then start again: nothing that was acknowledged is lost"
	}
	return "check the disk, then start again: nothing that was acknowledged is lost"
}

// store is where raft keeps entries, term and vote.
type store interface {
	raft.LogStore
	raft.StableStore
}

// guardedStore is raft's store behind a guard.
type guardedStore struct {
	store
	guard *guard
	where string
	// running is set when raft's goroutines run. ended is closed when one of them has ended early.
	running atomic.Bool
	ended   chan struct{}
	ending  sync.Once
	// appending is when raft's main goroutine began to append what it waits for, nil if it waits for nothing. Other goroutines of
	// raft write too: terms, at a heartbeat.
	appending atomic.Pointer[time.Time]
}

var (
	_ store                  = (*guardedStore)(nil)
	_ raft.MonotonicLogStore = (*guardedStore)(nil)
)

// IsMonotonic says whether the log requires indices without gaps. raft-wal does.
func (s *guardedStore) IsMonotonic() bool {
	monotonic, ok := s.store.(raft.MonotonicLogStore)
	return ok && monotonic.IsMonotonic()
}

// GetLog reads an entry. Raft would panic on most errors, so the calling goroutine ends instead.
func (s *guardedStore) GetLog(index uint64, entry *raft.Log) error {
	err := s.store.GetLog(index, entry)
	if err == nil || errors.Is(err, raft.ErrLogNotFound) {
		return err
	}
	s.guard.failure.set(fmt.Errorf("read entry %d of the log in %s: %w", index, s.where, err))
	s.end()
	return err
}

// StoreLog appends an entry.
func (s *guardedStore) StoreLog(entry *raft.Log) error { return s.StoreLogs([]*raft.Log{entry}) }

// StoreLogs appends entries.
func (s *guardedStore) StoreLogs(entries []*raft.Log) error {
	now := time.Now()
	s.appending.Store(&now)
	defer s.appending.Store(nil)
	return s.guard.write("append to the log in "+s.where, func() error { return s.store.StoreLogs(entries) })
}

// waiting is for how long raft's main goroutine has waited for what it appends, 0 if it does not.
func (s *guardedStore) waiting() time.Duration {
	if began := s.appending.Load(); began != nil {
		return time.Since(*began)
	}
	return 0
}

// DeleteRange removes entries that a snapshot includes, or that a new leader replaces.
func (s *guardedStore) DeleteRange(from, to uint64) error {
	return s.guard.write("shorten the log in "+s.where, func() error { return s.store.DeleteRange(from, to) })
}

// Set writes the vote. SetUint64 writes the term and the vote's term. Raft would panic if the term can't be written, so
// after a failure the calling goroutine ends instead, and no election is held.
func (s *guardedStore) Set(key, value []byte) error {
	return s.set(key, func() error { return s.store.Set(key, value) })
}

// SetUint64 writes the term and the vote's term.
func (s *guardedStore) SetUint64(key []byte, value uint64) error {
	return s.set(key, func() error { return s.store.SetUint64(key, value) })
}

// GetUint64 reads the term or the vote's term. Term 1 without entries is what is left if a disk failed while the node formed
// a cluster: raft writes the term before the first entry. It counts as no term, so that the node can form a cluster again.
// Nothing is forgotten by this: the first leader of a cluster has term 2, so nobody has voted in term 1.
func (s *guardedStore) GetUint64(key []byte) (uint64, error) {
	value, err := s.store.GetUint64(key)
	if err != nil || value != 1 || string(key) != "CurrentTerm" {
		return value, err
	}
	last, err := s.store.LastIndex()
	return min(last, value), err
}

func (s *guardedStore) set(key []byte, write func() error) error {
	err := s.guard.write(fmt.Sprintf("write %s in %s", key, s.where), write)
	if err != nil {
		s.end()
	}
	return err
}

// end ends the calling goroutine of raft. Its deferred calls release what it holds.
func (s *guardedStore) end() {
	if s.running.Load() {
		s.ending.Do(func() { close(s.ended) })
		runtime.Goexit()
	}
}
