package replication

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// machine is the owner's StateMachine as raft's FSM.
type machine struct {
	failure *failure
	logger  *slog.Logger
	// due has an element when a snapshot may be due.
	due chan struct{}
	// running is set when raft's goroutines run.
	running atomic.Bool

	mu    sync.Mutex
	state StateMachine
	// index is the index of the last entry that the state includes. included is the same, for readers that can't wait
	// for mu.
	index    uint64
	included atomic.Uint64
	// entries and bytes count what has been applied since the newest snapshot, which has so many bytes.
	entries, bytes uint64
	snapshot       atomic.Uint64
	// unreadable is why the state could not be restored from a snapshot when the node started.
	unreadable error
	// replay is the part of the log that this node must apply again after it was opened. It is nil once that is done.
	replay *replay
}

// replay is what a node must apply again when it starts.
type replay struct {
	// last is the index of its last entry.
	last     uint64
	commands uint64
	start    time.Time
}

var (
	_ raft.FSM                = (*machine)(nil)
	_ raft.ConfigurationStore = (*machine)(nil)
)

// Apply applies a command that the cluster has agreed on. It applies none after a failure.
func (m *machine) Apply(entry *raft.Log) any {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failure.err() != nil {
		return nil
	}
	answer := m.apply(entry)
	if fatal, ok := answer.(Fatal); ok {
		m.failure.set(fmt.Errorf("apply entry %d of the log: %w: start a version of Trellis that can", entry.Index,
			fatal.Err))
		return answer
	}
	m.advance(entry.Index, len(entry.Data))
	if m.replay != nil {
		m.replay.commands++
	}
	m.endReplay()
	return answer
}

// apply applies an entry, and turns a panic of the state machine into a fatal answer.
func (m *machine) apply(entry *raft.Log) (answer any) {
	defer func() {
		if reason := recover(); reason != nil {
			m.logger.Error("the state machine panicked", "index", entry.Index, "panic", reason,
				"stack", string(debug.Stack()))
			answer = Fatal{fmt.Errorf("the state machine panicked: %v", reason)}
		}
	}()
	return m.state.Apply(entry.Index, entry.Data)
}

// StoreConfiguration counts an entry that changes the cluster: the state includes it too.
func (m *machine) StoreConfiguration(index uint64, _ raft.Configuration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance(index, 0)
	m.endReplay()
}

// advance counts an entry. m.mu must be held.
func (m *machine) advance(index uint64, size int) {
	m.index = index
	m.included.Store(index)
	m.entries++
	m.bytes += uint64(size)
	select {
	case m.due <- struct{}{}:
	default:
	}
}

// caughtUp notes that everything in the log has been applied that was there when it was opened. Its last entries may
// not be commands.
func (m *machine) caughtUp() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.replay != nil {
		m.index = max(m.index, m.replay.last)
		m.included.Store(m.index)
		m.endReplay()
	}
}

// endReplay logs how long the replay took, once everything has been applied. m.mu must be held.
func (m *machine) endReplay() {
	if m.replay == nil || m.index < m.replay.last {
		return
	}
	if m.replay.commands > 0 {
		m.logger.Info("replayed the log", "commands", m.replay.commands,
			"duration", time.Since(m.replay.start).Round(time.Millisecond))
	}
	m.replay = nil
}

// view returns a snapshot and the index of the last entry in it.
func (m *machine) view() (Snapshot, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	snapshot, err := m.state.Snapshot()
	return snapshot, m.index, err
}

// Snapshot begins a snapshot of the state. Entries that are applied from now on count towards the next.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	snapshot, err := m.state.Snapshot()
	if err != nil {
		m.failure.set(fmt.Errorf("snapshot the state: %w", err))
		return nil, err
	}
	persisted := &persistedSnapshot{
		Snapshot: snapshot, failure: m.failure, entries: m.entries, size: &m.snapshot, logger: m.logger,
		start: time.Now(),
	}
	m.entries, m.bytes = 0, 0
	return persisted, nil
}

// Restore replaces the state with a snapshot. While raft is running, it would panic on an error, so its goroutine ends
// instead.
func (m *machine) Restore(source io.ReadCloser) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	start := time.Now()
	counted := &countingReader{Reader: source}
	if err := m.state.Restore(counted); err != nil {
		err = fmt.Errorf("restore the state from a snapshot: %w", err)
		if m.running.Load() {
			m.failure.set(err)
			runtime.Goexit()
		}
		m.unreadable = err
		return err
	}
	m.entries, m.bytes = 0, 0
	m.snapshot.Store(uint64(counted.count))
	if wrapper, ok := source.(raft.ReadCloserWrapper); ok {
		source = wrapper.WrappedReadCloser()
	}
	if indexed, ok := source.(*indexedSource); ok {
		m.index = indexed.index
		m.included.Store(m.index)
	}
	m.logger.Info("restored the state from a snapshot", "bytes", counted.count,
		"duration", time.Since(start).Round(time.Millisecond))
	return nil
}

// snapshotPart is which part of the newest snapshot's size is applied before the next, if that is more than
// Config.SnapshotBytes: a large one takes long to write and to read anyway. Applying takes about as long as reading then.
const snapshotPart = 8

// snapshotDue says whether the next snapshot is due, given a share of the limits.
func (m *machine) snapshotDue(share float64, config Config) bool {
	entries, bytes := m.total()
	most := max(config.SnapshotBytes, m.snapshot.Load()/snapshotPart)
	return float64(entries) >= share*float64(config.SnapshotEntries) || float64(bytes) >= share*float64(most)
}

// total returns what has been applied since the newest snapshot.
func (m *machine) total() (entries, bytes uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.entries, m.bytes
}

// persistedSnapshot writes a Snapshot to raft's store.
type persistedSnapshot struct {
	Snapshot
	failure *failure
	logger  *slog.Logger
	entries uint64
	// size gets the number of bytes that have been written.
	size  *atomic.Uint64
	start time.Time
}

// Persist writes the snapshot.
func (s *persistedSnapshot) Persist(sink raft.SnapshotSink) error {
	size, err := s.WriteTo(sink)
	if err != nil {
		err = fmt.Errorf("write a snapshot: %w", err)
		if !errors.Is(err, ErrClosed) {
			s.failure.set(err)
		}
		return errors.Join(err, sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return fmt.Errorf("finish a snapshot: %w", err)
	}
	s.size.Store(uint64(size))
	s.logger.Info("took a snapshot", "entries", s.entries, "bytes", size,
		"duration", time.Since(s.start).Round(time.Millisecond))
	return nil
}

// Release does nothing: the view is garbage.
func (s *persistedSnapshot) Release() {}

// countingReader counts what is read.
type countingReader struct {
	io.Reader
	count int64
}

func (r *countingReader) Read(data []byte) (int, error) {
	n, err := r.Reader.Read(data)
	r.count += int64(n)
	return n, err
}
