package replication

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/hashicorp/raft"
)

// Memory replaces a node's data directory in simulations. It does no I/O, so it works in virtual time. A node that is
// opened again with the same Memory finds what it has written.
type Memory struct {
	// Write, if not nil, is called before every write of entries, term and vote. It may block, like a slow disk, or
	// fail, like a broken one. Several goroutines may call it at the same time.
	Write func() error

	id        string
	snapshots *memorySnapshots

	// mu is held during writes, so that a copy is of one moment.
	mu      sync.Mutex
	entries *raft.InmemStore
	// texts and numbers have the keys of everything stored besides entries.
	texts, numbers map[string]bool
}

// NewMemory returns the memory of a new node. The id replaces the random one.
func NewMemory(id string) *Memory {
	return &Memory{
		id: id, entries: raft.NewInmemStore(), snapshots: &memorySnapshots{}, texts: map[string]bool{},
		numbers: map[string]bool{},
	}
}

// Copy returns an independent copy of what is written now. A node that is opened with it finds the same as after a
// crash at this moment. Later writes of the crashed node go to the original.
func (m *Memory) Copy() (*Memory, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	to := NewMemory(m.id)
	m.snapshots.mu.Lock()
	to.snapshots.made, to.snapshots.meta, to.snapshots.content = m.snapshots.made, m.snapshots.meta, m.snapshots.content
	m.snapshots.mu.Unlock()
	first, _ := m.entries.FirstIndex()
	last, _ := m.entries.LastIndex()
	for index := first; index <= last && last > 0; index++ {
		entry := &raft.Log{}
		err := m.entries.GetLog(index, entry)
		if errors.Is(err, raft.ErrLogNotFound) {
			continue // An installed snapshot leaves a gap.
		}
		if err != nil {
			return nil, fmt.Errorf("copy entry %d: %w", index, err)
		}
		if err := to.entries.StoreLog(entry); err != nil {
			return nil, fmt.Errorf("copy entry %d: %w", index, err)
		}
	}
	for key := range m.texts {
		value, err := m.entries.Get([]byte(key))
		if err != nil {
			return nil, fmt.Errorf("copy %s: %w", key, err)
		}
		if err := (memoryStore{to.entries, to}).Set([]byte(key), slices.Clone(value)); err != nil {
			return nil, fmt.Errorf("copy %s: %w", key, err)
		}
	}
	for key := range m.numbers {
		value, err := m.entries.GetUint64([]byte(key))
		if err != nil {
			return nil, fmt.Errorf("copy %s: %w", key, err)
		}
		if err := (memoryStore{to.entries, to}).SetUint64([]byte(key), value); err != nil {
			return nil, fmt.Errorf("copy %s: %w", key, err)
		}
	}
	return to, nil
}

// memoryStore is a Memory as raft's store.
type memoryStore struct {
	*raft.InmemStore
	memory *Memory
}

var _ store = memoryStore{}

// before calls Memory.Write, and then write.
func (s memoryStore) before(write func() error) error {
	if s.memory.Write != nil {
		if err := s.memory.Write(); err != nil {
			return err
		}
	}
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	return write()
}

// StoreLogs appends entries.
func (s memoryStore) StoreLogs(entries []*raft.Log) error {
	return s.before(func() error { return s.InmemStore.StoreLogs(entries) })
}

// DeleteRange removes entries.
func (s memoryStore) DeleteRange(from, to uint64) error {
	return s.before(func() error { return s.InmemStore.DeleteRange(from, to) })
}

// Set writes the vote.
func (s memoryStore) Set(key, value []byte) error {
	return s.before(func() error {
		s.memory.texts[string(key)] = true
		return s.InmemStore.Set(key, value)
	})
}

// SetUint64 writes the term and the vote's term.
func (s memoryStore) SetUint64(key []byte, value uint64) error {
	return s.before(func() error {
		s.memory.numbers[string(key)] = true
		return s.InmemStore.SetUint64(key, value)
	})
}

// memorySnapshots keeps the newest complete snapshot.
type memorySnapshots struct {
	mu      sync.Mutex
	made    int
	meta    *raft.SnapshotMeta
	content []byte
}

var _ raft.SnapshotStore = (*memorySnapshots)(nil)

// Create begins a snapshot.
func (s *memorySnapshots) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, _ raft.Transport,
) (raft.SnapshotSink, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	return &memorySink{store: s, meta: raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%d-%d-%d", term, index, s.made), Index: index, Term: term,
		Configuration: configuration, ConfigurationIndex: configurationIndex,
	}}, nil
}

// List returns the newest snapshot.
func (s *memorySnapshots) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.meta == nil {
		return nil, nil
	}
	return []*raft.SnapshotMeta{s.meta}, nil
}

// Open reads the newest snapshot.
func (s *memorySnapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.meta == nil || s.meta.ID != id {
		return nil, nil, fmt.Errorf("snapshot %s no longer exists", id)
	}
	return s.meta, io.NopCloser(bytes.NewReader(s.content)), nil
}

// memorySink is a snapshot that is being written.
type memorySink struct {
	bytes.Buffer
	store *memorySnapshots
	meta  raft.SnapshotMeta
}

func (s *memorySink) ID() string    { return s.meta.ID }
func (s *memorySink) Cancel() error { return nil }

// Close makes it the newest snapshot.
func (s *memorySink) Close() error {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.meta.Size = int64(s.Len())
	if s.store.meta == nil || s.store.meta.Index <= s.meta.Index {
		s.store.meta, s.store.content = &s.meta, slices.Clone(s.Bytes())
	}
	return nil
}
