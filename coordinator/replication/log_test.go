package replication

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

// book is a StateMachine that keeps all commands with their indexes.
type book struct {
	// refuse is the error of Restore and Check.
	refuse error

	mu      sync.Mutex
	entries []entry
}

type entry struct {
	Index   uint64
	Command []byte
}

func (b *book) Apply(index uint64, command []byte) any {
	b.mu.Lock()
	defer b.mu.Unlock()
	if string(command) == "unknown" {
		return Fatal{fmt.Errorf("unknown command")}
	}
	if string(command) == "panic" {
		panic("as told")
	}
	b.entries = append(b.entries, entry{index, bytes.Clone(command)})
	return len(b.entries)
}

type page []entry

func (b *book) Snapshot() (Snapshot, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return page(b.entries[:len(b.entries):len(b.entries)]), nil
}

func (p page) WriteTo(w io.Writer) (int64, error) {
	data, err := json.Marshal([]entry(p))
	if err != nil {
		return 0, err
	}
	n, err := w.Write(data)
	return int64(n), err
}

func (b *book) Check(io.Reader) error { return b.refuse }

func (b *book) Restore(r io.Reader) error {
	if b.refuse != nil {
		return b.refuse
	}
	var entries []entry
	if err := json.NewDecoder(r).Decode(&entries); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries = entries
	return nil
}

func (b *book) commands() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var commands []string
	for _, entry := range b.entries {
		commands = append(commands, string(entry.Command))
	}
	return commands
}

// open opens a node that leads at once, and closes it when the test ends.
func open(t testing.TB, config Config, state StateMachine) *Log {
	t.Helper()
	if config.Address == "" {
		config.Address = "127.0.0.1:7070"
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	log, err := Open(config, state)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	return log
}

// lead waits until the node leads.
func lead(t testing.TB, log *Log) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		select {
		case leads := <-log.Leadership():
			if leads {
				return
			}
		case err := <-log.Failed():
			t.Fatal(err)
		case <-deadline:
			t.Fatal("the node does not lead after 10s")
		}
	}
}

// propose proposes a command that must be accepted.
func propose(t testing.TB, log *Log, command string) uint64 {
	t.Helper()
	index, _, err := log.Propose(t.Context(), []byte(command))
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func number(i int) string { return string(binary.BigEndian.AppendUint32(nil, uint32(i))) }

// slow is a StateMachine that applies nothing before it is told.
type slow struct {
	book
	apply chan struct{}
}

func (s *slow) Apply(index uint64, command []byte) any {
	<-s.apply
	return s.book.Apply(index, command)
}

func TestProposeIsBounded(t *testing.T) {
	state := &slow{apply: make(chan struct{})}
	log := open(t, Config{Memory: NewMemory("id"), Bootstrap: true, MaxPending: 10, MaxPendingBytes: 1000}, state)
	lead(t, log)
	if _, _, err := log.Propose(t.Context(), make([]byte, MaxCommand+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a large command: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var ended sync.WaitGroup
	var busy atomic.Int64
	for range 15 {
		ended.Go(func() {
			_, _, err := log.Propose(ctx, []byte("x"))
			if errors.Is(err, ErrBusy) {
				busy.Add(1)
			} else if !errors.Is(err, context.Canceled) {
				t.Errorf("a canceled proposal: %v", err)
			}
		})
	}
	for busy.Load() < 5 {
		runtime.Gosched()
	}
	if err := log.Verify(t.Context()); err != nil {
		t.Errorf("verify while commands wait: %v", err)
	}
	cancel()
	ended.Wait()
	close(state.apply)
	// One that is larger than the limit gets its turn when it is alone.
	if got := busy.Load(); got != 5 {
		t.Errorf("%d of 15 proposals were refused where there is room for 10", got)
	}
	for err := ErrBusy; errors.Is(err, ErrBusy); {
		_, _, err = log.Propose(t.Context(), make([]byte, 2000))
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := log.Propose(t.Context(), []byte("x")); !errors.Is(err, ErrNotLeader) || !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestSnapshotsKeepTheLogShort(t *testing.T) {
	var lines bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
	config := Config{Dir: t.TempDir(), Bootstrap: true, SnapshotEntries: 100, TrailingEntries: 10, Logger: logger}
	log := open(t, config, &book{})
	lead(t, log)
	for i := 0; log.Status().SnapshotIndex == 0; i++ {
		propose(t, log, number(i))
	}
	log.Close()
	state := &book{}
	log = open(t, config, state)
	lead(t, log)
	if first, err := log.store.FirstIndex(); err != nil || first < 10 {
		t.Errorf("the log begins with entry %d: %v", first, err)
	}
	for i, command := range state.commands() {
		if command != number(i) {
			t.Fatalf("command %d is another", i)
		}
	}
	log.Close()
	for _, line := range []string{
		`msg="took a snapshot" entries=`, `msg="restored the state from a snapshot" bytes=`,
		`msg="replayed the log" commands=`,
		`level=DEBUG msg="entering leader state" library=raft severity=info`,
	} {
		if !strings.Contains(lines.String(), line) {
			t.Errorf("the logger has not been told %s", line)
		}
	}
	if strings.Contains(lines.String(), "level=ERROR") || strings.Contains(lines.String(), "level=WARN") {
		t.Errorf("operators were warned:\n%s", lines.String())
	}
}

// endless is a StateMachine whose snapshots never end.
type endless struct {
	book
	writing chan struct{}
}

func (e *endless) Snapshot() (Snapshot, error) { return e, nil }

func (e *endless) WriteTo(w io.Writer) (int64, error) {
	for first := true; ; first = false {
		if _, err := w.Write(make([]byte, 100)); err != nil {
			return 0, fmt.Errorf("write: %w", err)
		}
		if first {
			close(e.writing)
		}
	}
}

func TestCloseGivesUpSnapshot(t *testing.T) {
	state := &endless{writing: make(chan struct{})}
	dir := t.TempDir()
	log := open(t, Config{Dir: dir, Bootstrap: true}, state)
	lead(t, log)
	propose(t, log, "first")
	ended := make(chan error, 1)
	go func() { ended <- log.Snapshot() }()
	<-state.writing
	start := time.Now()
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took >= closeTimeout {
		t.Errorf("Close took %v", took)
	}
	if err := <-ended; err == nil {
		t.Error("a snapshot without end has ended")
	}
	after := &book{}
	lead(t, open(t, Config{Dir: dir}, after))
	if got := after.commands(); len(got) != 1 {
		t.Errorf("after the restart: %q", got)
	}
}

func TestFirstBootAndRestart(t *testing.T) {
	dir := t.TempDir() + "/node"
	start := time.Now()
	// It does not wait for other nodes.
	log := open(t, Config{Dir: dir, Bootstrap: true, HeartbeatTimeout: time.Minute}, &book{})
	lead(t, log)
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("a single node led after %v", took)
	}
	id := log.Status().ID
	for i := range 100 {
		propose(t, log, number(i))
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	state := &book{}
	log = open(t, Config{Dir: dir, Bootstrap: true}, state)
	lead(t, log)
	if got := len(state.commands()); got != 100 {
		t.Errorf("%d of 100 commands are there after a restart", got)
	}
	if got := log.Status(); got.ID != id || got.Role != trellisv1.NodeRole_NODE_ROLE_LEADER {
		t.Errorf("status after a restart: %+v", got)
	}
}
