package replication

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// maxBatch is the maximum number of entries in one write to the disk and in one message to another node. In normal
	// operation an entry has at most 64 KiB, so a message has at most 8 MiB.
	maxBatch = 128
	// networkTimeout is how long a message to another node and its response may take.
	networkTimeout = 10 * time.Second
	// closeTimeout is how long Close waits for pending requests.
	closeTimeout = 5 * time.Second
	// transferTimeout is how long a leader may refuse everything because another node is taking over. Raft gives up a
	// transfer after an election timeout, and a message within it after networkTimeout.
	transferTimeout = 3 * networkTimeout
	// drainTimeout is how long pending requests may take to end after a failure.
	drainTimeout = time.Second
	// trailingBytes is about how many bytes of entries before a snapshot stay in the log, if they are no more than
	// Config.TrailingEntries.
	trailingBytes = 64 << 20
	// keptSnapshots is how many snapshots stay in the data directory.
	keptSnapshots = 2
)

// Log is one node's replica of the cluster's log. Its methods may be called by several goroutines at once.
type Log struct {
	config  Config
	logger  *slog.Logger
	id      string
	failure *failure
	machine *machine
	stream  *stream
	raft    *raft.Raft
	// reloading is held while raft's configuration is changed.
	reloading sync.Mutex
	// shutdown stops raft, after endVerifying. Its future waits for raft's goroutines.
	shutdown func() raft.Future
	store    *guardedStore
	// directory is nil if the log is in memory.
	directory *directory
	closeWAL  func() error

	leadership chan bool
	// refused has an element when something was refused because of a transfer of the leadership.
	refused chan struct{}
	// caughtUp is the last term in which this node led and had applied everything acknowledged before.
	caughtUp atomic.Uint64

	// mu guards the fields below: pending requests to raft, and the commands and bytes in them. A closed Log accepts
	// nothing new. idle is closed when nothing is pending any more. While raft is being shut down, it is no longer
	// asked whether it leads.
	mu       sync.Mutex
	closed   bool
	shut     bool
	requests int
	commands int
	bytes    int64
	idle     chan struct{}

	// verifying counts those who wait for raft to say whether it leads.
	verifying sync.WaitGroup

	// stopping is closed when the log's own goroutines must end; loops waits for them.
	stopping chan struct{}
	loops    sync.WaitGroup
	closing  sync.Once
	closeErr error
}

// Open starts the node of a data directory. It restores the state machine from the newest snapshot, and applies the
// rest of the log as soon as the cluster has a leader. The Log closes config.Network, even if Open fails.
func Open(config Config, state StateMachine) (_ *Log, err error) {
	start := time.Now()
	config, err = config.withDefaults()
	if err != nil {
		if config.Network != nil {
			config.Network.Close()
		}
		return nil, err
	}
	l := &Log{
		config:     config,
		logger:     config.Logger,
		failure:    newFailure(),
		stream:     newStream(config.Network, config.Address),
		leadership: make(chan bool, 1),
		refused:    make(chan struct{}, 1),
		stopping:   make(chan struct{}),
		closeWAL:   func() error { return nil },
	}
	defer func() {
		if err == nil {
			return
		}
		if cause := l.failure.first(); cause != nil {
			err = cause
		}
		l.stream.Close()
		l.closeWAL()
		if l.directory != nil {
			l.directory.close()
		}
	}()
	snapshots, err := l.openStores()
	if err != nil {
		return nil, err
	}
	last, err := l.mendStores(snapshots)
	if err != nil {
		return nil, err
	}
	l.machine = &machine{
		failure: l.failure, logger: l.logger, state: state, due: make(chan struct{}, 1),
		replay: &replay{last: last, start: start},
	}
	if err := l.start(snapshots); err != nil {
		return nil, err
	}
	return l, nil
}

// openStores opens the stores of the data directory, or of the memory. A node without a log becomes a cluster of one if
// the configuration says so.
func (l *Log) openStores() (*guardedSnapshots, error) {
	guard := &guard{failure: l.failure, stall: l.config.StallTimeout, fault: l.config.fault}
	if memory := l.config.Memory; memory != nil {
		l.id = memory.id
		l.store = &guardedStore{
			store: memoryStore{memory.entries, memory}, guard: guard, where: "memory",
			ended: make(chan struct{}),
		}
		snapshots := &guardedSnapshots{SnapshotStore: memory.snapshots, guard: guard, stopping: l.stopping}
		return snapshots, l.bootstrap(l.store, snapshots)
	}
	directory, err := openDirectory(l.config.Dir)
	if err != nil {
		return nil, err
	}
	l.directory, l.id = directory, directory.ID
	if err := directory.makeSnapshots(); err != nil {
		return nil, err
	}
	logger := newLibraryLogger(l.logger)
	files, err := raft.NewFileSnapshotStoreWithLogger(directory.path, keptSnapshots, logger)
	if err != nil {
		return nil, fmt.Errorf("open the snapshots in %s: %w: %s", directory.path, err, remedy(err))
	}
	snapshots := &guardedSnapshots{
		SnapshotStore: files, guard: guard, dir: filepath.Join(directory.path, snapshotsName), stopping: l.stopping,
	}
	if err := l.openLog(guard, snapshots); err != nil {
		return nil, err
	}
	return snapshots, nil
}

// openLog opens the log of the data directory, or creates it.
func (l *Log) openLog(guard *guard, snapshots raft.SnapshotStore) error {
	path := filepath.Join(l.directory.path, logName)
	open := func() (used bool, err error) {
		entries, err := openWAL(path, guard, files(), newLibraryLogger(l.logger))
		if err != nil {
			return false, err
		}
		l.store = &guardedStore{store: entries, guard: guard, where: path, ended: make(chan struct{})}
		l.closeWAL = entries.Close
		used, err = raft.HasExistingState(l.store, l.store, snapshots)
		if err != nil {
			return false, fmt.Errorf("check the log in %s: %w", path, err)
		}
		return used, nil
	}
	if l.directory.hasLog() {
		used, err := open()
		if used && err == nil {
			err = l.directory.noteUse()
		}
		if err != nil || used || !l.config.Bootstrap {
			return err
		}
		// So far, the node has waited to be added. Its log has no entries, so nothing is lost.
		if err := l.closeWAL(); err != nil {
			return fmt.Errorf("close the log in %s: %w", path, err)
		}
	} else if all, err := snapshots.List(); err != nil || len(all) > 0 {
		return errors.Join(err, fmt.Errorf("the data directory %s is %w: it has snapshots but no %s: put the folder "+
			"back, or restore a backup into an empty directory", l.directory.path, ErrDamaged, logName))
	} else if l.directory.Used {
		return fmt.Errorf("the data directory %s is %w: it has had studies, but has no %s: put the folder back, or "+
			"restore a backup into an empty directory", l.directory.path, ErrDamaged, logName)
	}
	err := l.directory.folder(func(temporary string) error {
		entries, err := openWAL(temporary, guard, files(), newLibraryLogger(l.logger))
		if err != nil {
			return err
		}
		return errors.Join(l.bootstrap(entries, snapshots), entries.Close())
	})
	if err != nil {
		return err
	}
	used, err := open()
	if used && err == nil {
		err = l.directory.noteUse()
	}
	return err
}

// bootstrap makes a node without a log a cluster of one, if the configuration says so.
func (l *Log) bootstrap(entries store, snapshots raft.SnapshotStore) error {
	if !l.config.Bootstrap {
		return nil
	}
	used, err := raft.HasExistingState(entries, entries, snapshots)
	if err != nil || used {
		return err
	}
	config := l.raftConfig()
	return raft.BootstrapCluster(config, entries, entries, snapshots, nil, only(l.id, l.config.Address))
}

// mendStores makes log and snapshot fit together after a kill while a snapshot was being installed or restored. This
// replaces the log: it may then have only entries that the snapshot includes, so the next entry would leave a gap. It
// records which snapshots the log reaches back to, and returns the index of the last entry of both.
func (l *Log) mendStores(snapshots *guardedSnapshots) (uint64, error) {
	first, err := l.store.FirstIndex()
	if err != nil {
		return 0, fmt.Errorf("read the log in %s: %w", l.store.where, err)
	}
	last, err := l.store.LastIndex()
	if err != nil {
		return 0, fmt.Errorf("read the log in %s: %w", l.store.where, err)
	}
	all, err := snapshots.List()
	if err != nil {
		return 0, fmt.Errorf("list the snapshots: %w", err)
	}
	snapshot := uint64(0)
	if len(all) > 0 {
		snapshot = all[0].Index
	}
	switch {
	case last > 0 && snapshot > last:
		if err := l.store.DeleteRange(first, last); err != nil {
			return 0, err
		}
		snapshots.from = snapshot
		return snapshot, nil
	case last == 0:
		snapshots.from = snapshot
		return snapshot, nil
	case first > snapshot+1:
		return 0, fmt.Errorf("the data directory is %w: the log in %s begins with entry %d, but the newest snapshot "+
			"ends with entry %d: restore a backup into an empty directory, or remove the node from its cluster and "+
			"add it again with an empty one", ErrDamaged, l.store.where, first, snapshot)
	}
	// If raft can't read the newest snapshot, it may use an older one and the log after it. But it must not skip what
	// is in between.
	snapshots.from = first - 1
	return last, nil
}

// raftConfig returns the configuration of raft. snapshotLoop decides when to take snapshots.
func (l *Log) raftConfig() *raft.Config {
	config := raft.DefaultConfig()
	config.LocalID = raft.ServerID(l.id)
	config.Logger = newLibraryLogger(l.logger)
	config.HeartbeatTimeout = l.config.HeartbeatTimeout
	// See look.
	config.ElectionTimeout = l.config.HeartbeatTimeout + time.Nanosecond
	config.LeaderLeaseTimeout = l.config.HeartbeatTimeout
	config.CommitTimeout = min(50*time.Millisecond, l.config.HeartbeatTimeout/10)
	config.MaxAppendEntries = maxBatch
	config.ShutdownOnRemove = false
	config.TrailingLogs = l.config.TrailingEntries
	config.SnapshotThreshold = 1 << 62
	config.SnapshotInterval = 24 * time.Hour
	config.NoLegacyTelemetry = true
	return config
}

// start runs raft and the log's own loops.
func (l *Log) start(snapshots *guardedSnapshots) (err error) {
	transport := newTransport(l)
	defer func() {
		// Raft panics if it can't read the log.
		if reason := recover(); reason != nil {
			err = fmt.Errorf("the data directory is %w: %v", ErrDamaged, reason)
		}
		if err != nil {
			transport.Close()
		}
	}()
	l.raft, err = raft.NewRaft(l.raftConfig(), l.machine, l.store, l.store, snapshots, transport)
	if err != nil {
		// Raft does not say why it can't read a snapshot.
		return fmt.Errorf("start from the data in %s: %w", l.store.where,
			cmp.Or(snapshots.unreadable(), l.machine.unreadable, err))
	}
	if err := cmp.Or(snapshots.unreadable(), l.machine.unreadable); err != nil {
		l.logger.Warn("started from an older snapshot and the log after it", "error", err)
	}
	l.shutdown = sync.OnceValue(l.raft.Shutdown)
	var parts []presence
	if l.directory != nil {
		if err = l.directory.upgrade(); err == nil {
			parts, err = l.directory.parts()
		}
		if err != nil {
			return errors.Join(err, l.shutdown().Error())
		}
	}
	l.machine.running.Store(true)
	l.store.running.Store(true)
	observations := make(chan raft.Observation, 64)
	observer := raft.NewObserver(observations, false, nil)
	l.raft.RegisterObserver(observer)
	transport.serve(l.raft)
	l.loops.Go(func() { l.observe(observations) })
	l.loops.Go(l.lead)
	l.loops.Go(l.snapshotLoop)
	l.loops.Go(l.watchFailure)
	l.loops.Go(l.watchLeader)
	l.loops.Go(l.watchTransfers)
	if len(parts) > 0 {
		l.loops.Go(func() { l.watchPresence(parts) })
	}
	if servers := l.servers(); len(servers) == 1 && string(servers[0].ID) == l.id {
		// A node that is alone need not wait for a leader.
		l.look()
	}
	return nil
}

// watchFailure stops the node at its first failure: the node falls silent, ends pending requests, and holds no
// elections.
func (l *Log) watchFailure() {
	select {
	case <-l.failure.done:
	case <-l.stopping:
		return
	}
	l.stream.sever()
	l.waitIdle(drainTimeout)
	l.endVerifying()
	l.shutdown()
}

// Failed sends one error when this node can't continue: the disk has failed or hangs, or the state machine can't apply
// what the cluster has agreed on. Nothing more is acknowledged, and the process must end.
func (l *Log) Failed() <-chan error { return l.failure.report }

// Close stops the node. A leader first transfers its leadership. Nothing is applied afterwards.
func (l *Log) Close() error {
	l.closing.Do(func() { l.closeErr = l.close() })
	return l.closeErr
}

func (l *Log) close() error {
	if l.failure.err() == nil && l.raft.State() == raft.Leader && len(l.servers()) > 1 {
		// If it fails, the others notice that the leader is gone.
		ctx, cancel := context.WithTimeout(context.Background(), 2*l.config.HeartbeatTimeout)
		_ = l.TransferLeadership(ctx, "")
		cancel()
	}
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	timeout := closeTimeout
	if l.failure.err() != nil {
		// What has not ended by now hangs together with the disk. The process must end.
		timeout = drainTimeout
	}
	idle := l.waitIdle(timeout)
	close(l.stopping)
	l.stream.sever()
	stopped := make(chan error, 1)
	go func() {
		l.endVerifying()
		err := l.shutdown().Error()
		l.loops.Wait()
		if err == nil {
			err = l.closeWAL()
		}
		stopped <- err
	}()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	var err error
	select {
	case err = <-stopped:
		if l.directory != nil {
			err = errors.Join(err, l.directory.close())
		}
	case <-timer.C:
		err = fmt.Errorf("close the log: the disk of %s did not respond within %v", l.store.where, timeout)
	}
	if failed := l.failure.err(); failed != nil {
		return failed
	}
	if err == nil && !idle {
		err = errors.New("close the log: some proposals have not ended")
	}
	return err
}

// servers are the nodes of the cluster as this node knows them.
func (l *Log) servers() []raft.Server {
	configuration := l.raft.GetConfiguration()
	if configuration.Error() != nil {
		return nil
	}
	return configuration.Configuration().Servers
}

var _ io.Closer = (*Log)(nil)
