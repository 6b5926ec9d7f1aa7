package replication

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// openFails opens a node that must be refused, with a message that has the parts.
func openFails(t *testing.T, config Config, want error, parts ...string) {
	t.Helper()
	config.Address = "127.0.0.1:7070"
	log, err := Open(config, &book{})
	if err == nil {
		log.Close()
		t.Fatal("the node was opened")
	}
	t.Log(err)
	if !errors.Is(err, want) {
		t.Errorf("%v is not %v", err, want)
	}
	for _, part := range append(parts, config.Dir) {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	log := open(t, Config{Dir: dir, Bootstrap: true}, &book{})
	openFails(t, Config{Dir: dir}, ErrLocked, "stop it")
	log.Close()
	open(t, Config{Dir: dir}, &book{})
}

func TestNewerOrDamagedDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, Config{Dir: dir, Bootstrap: true}, &book{}).Close()
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, nodeName), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	id := readFile(t, filepath.Join(dir, nodeName))
	write(`{"format": 3, "id": "x"}`)
	openFails(t, Config{Dir: dir}, ErrNewerVersion, "format 3", "up to 2")
	write(`{"format": 1`)
	openFails(t, Config{Dir: dir}, ErrDamaged, nodeName)
	write(`{}`)
	openFails(t, Config{Dir: dir}, ErrDamaged, nodeName)
	write(``)
	openFails(t, Config{Dir: dir}, ErrDamaged, nodeName, "it is empty")
	if err := os.Remove(filepath.Join(dir, nodeName)); err != nil {
		t.Fatal(err)
	}
	openFails(t, Config{Dir: dir, Bootstrap: true}, ErrDamaged, "put the file back")
	write(string(id))
	aside := filepath.Join(t.TempDir(), logName)
	if err := os.Rename(filepath.Join(dir, logName), aside); err != nil {
		t.Fatal(err)
	}
	openFails(t, Config{Dir: dir, Bootstrap: true}, ErrDamaged, "put the folder back")
	if err := os.Rename(aside, filepath.Join(dir, logName)); err != nil {
		t.Fatal(err)
	}
	lead(t, open(t, Config{Dir: dir}, &book{}))
}

// damageNewestSnapshot makes a node with two snapshots, and changes a byte of the newer one.
func damageNewestSnapshot(t *testing.T, dir string, trailing uint64) (want []string) {
	t.Helper()
	state := &book{}
	log := open(t, Config{Dir: dir, Bootstrap: true, TrailingEntries: trailing}, state)
	lead(t, log)
	for i := range 100 {
		propose(t, log, number(i))
		if i == 50 || i == 90 {
			if err := log.Snapshot(); err != nil {
				t.Fatal(err)
			}
		}
	}
	log.Close()
	states, err := filepath.Glob(filepath.Join(dir, snapshotsName, "*", "state.bin"))
	if err != nil || len(states) != 2 {
		t.Fatal(states, err)
	}
	content := readFile(t, states[1])
	content[len(content)/2] ^= 1
	if err := os.WriteFile(states[1], content, 0o600); err != nil {
		t.Fatal(err)
	}
	return state.commands()
}

func TestDamagedSnapshotIsNotSteppedOver(t *testing.T) {
	dir := t.TempDir()
	damageNewestSnapshot(t, dir, 5)
	openFails(t, Config{Dir: dir}, ErrDamaged, "restore a backup", "CRC")
	if err := os.RemoveAll(filepath.Join(dir, logName)); err != nil {
		t.Fatal(err)
	}
	openFails(t, Config{Dir: dir, Bootstrap: true}, ErrDamaged, "restore a backup", "no log")
	dir = t.TempDir()
	damageNewestSnapshot(t, dir, 5)
	if err := os.RemoveAll(filepath.Join(dir, snapshotsName)); err != nil {
		t.Fatal(err)
	}
	openFails(t, Config{Dir: dir}, ErrDamaged, "restore a backup", "begins with entry")
}

func TestLogBehindOlderSnapshotIsEnough(t *testing.T) {
	dir := t.TempDir()
	want := damageNewestSnapshot(t, dir, 1000)
	state := &book{}
	lead(t, open(t, Config{Dir: dir}, state))
	if got := state.commands(); !slices.Equal(got, want) {
		t.Errorf("%d of %d commands are there", len(got), len(want))
	}
}

func TestWaitingNode(t *testing.T) {
	dir := t.TempDir()
	log := open(t, Config{Dir: dir, HeartbeatTimeout: 20 * time.Millisecond}, &book{})
	id := log.Status().ID
	select {
	case leads := <-log.Leadership():
		t.Errorf("a node that waits to be added sends %v", leads)
	case <-time.After(200 * time.Millisecond):
	}
	if nodes, err := log.Nodes(); err != nil || len(nodes) != 0 {
		t.Errorf("nodes: %v, %v", nodes, err)
	}
	if _, _, err := log.Propose(t.Context(), nil); !errors.Is(err, ErrNotLeader) {
		t.Errorf("a node that waits answers %v", err)
	}
	log.Close()
	// It can become a cluster of its own after all.
	log = open(t, Config{Dir: dir, Bootstrap: true}, &book{})
	lead(t, log)
	if got := log.Status().ID; got != id {
		t.Errorf("the node %s has become %s", id, got)
	}
}

func TestLeftoversAreRemoved(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{"log.tmp/wal-meta.db.tmp", "snapshots/1-2-3.tmp/state.bin", "restore-1.tmp"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, nodeName), []byte(`{"format":1,"id":"x"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	lead(t, open(t, Config{Dir: dir, Bootstrap: true}, &book{}))
	left, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
	more, err2 := filepath.Glob(filepath.Join(dir, "*", "*.tmp"))
	if err != nil || err2 != nil || len(left)+len(more) > 0 {
		t.Errorf("left: %v %v", left, more)
	}
}

// TestDamagedSnapshotOfARestoreIsNotSteppedOver is a log that begins behind a restore: an older snapshot has nothing of
// it.
func TestDamagedSnapshotOfARestoreIsNotSteppedOver(t *testing.T) {
	dir := t.TempDir()
	log := open(t, Config{Dir: dir, Bootstrap: true}, &book{})
	lead(t, log)
	propose(t, log, "first")
	if err := log.Snapshot(); err != nil {
		t.Fatal(err)
	}
	if err := log.Restore(t.Context(), backupOf(t, log)); err != nil {
		t.Fatal(err)
	}
	last := log.Status().LastIndex
	log.Close()
	// As after a kill before anything was appended.
	entries, err := openLogFolder(t, filepath.Join(dir, logName), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := entries.DeleteRange(1, last); err != nil {
		t.Fatal(err)
	}
	entries.Close()
	states, err := filepath.Glob(filepath.Join(dir, snapshotsName, "*", "state.bin"))
	if err != nil || len(states) != 2 {
		t.Fatal(states, err)
	}
	slices.SortFunc(states, func(a, b string) int { return len(a) - len(b) })
	if err := os.WriteFile(states[1], []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	openFails(t, Config{Dir: dir}, ErrDamaged, "restore a backup", "CRC")
}
