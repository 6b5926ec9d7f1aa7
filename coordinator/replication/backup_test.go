package replication

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// backupOf returns a backup.
func backupOf(t testing.TB, log *Log) *bytes.Reader {
	t.Helper()
	var backup bytes.Buffer
	if err := log.Backup(t.Context(), &backup); err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(backup.Bytes())
}

func TestBackupIntoAnotherCluster(t *testing.T) {
	log := open(t, Config{Dir: t.TempDir(), Bootstrap: true}, &book{})
	lead(t, log)
	var want []string
	for i := range 10 {
		// More than a chunk in all.
		command := number(i) + strings.Repeat("x", 50_000)
		propose(t, log, command)
		want = append(want, command)
	}
	backup := backupOf(t, log)
	later := propose(t, log, "later")

	dir, state := t.TempDir(), &book{}
	log = open(t, Config{Dir: dir, Bootstrap: true}, state)
	lead(t, log)
	propose(t, log, "replaced")
	if err := log.Restore(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	if got := state.commands(); !slices.Equal(got, want) {
		t.Errorf("%d commands after a restore, not %d", len(got), len(want))
	}
	if index := propose(t, log, "next"); index < later+1_000_000_000 {
		t.Errorf("the log goes on at %d, too near to %d", index, later)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*"+temporarySuffix)); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	log.Close()
	state = &book{}
	log = open(t, Config{Dir: dir}, state)
	lead(t, log)
	if got := state.commands(); !slices.Equal(got, append(want, "next")) {
		t.Errorf("%d commands after a restore and a restart", len(got))
	}
	// A node that has only been restored has a backup with the right index.
	var again bytes.Buffer
	if err := log.Backup(t.Context(), &again); err != nil {
		t.Fatal(err)
	}
	if header, _, err := readBackup(t.Context(), &again, &bytes.Buffer{}); err != nil || header.Index < 1_000_000_000 {
		t.Errorf("header %+v, %v", header, err)
	}
}

func TestDamagedBackupIsRefused(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	state := &book{}
	log := open(t, Config{Dir: t.TempDir(), Bootstrap: true}, state)
	lead(t, log)
	for range 20 {
		propose(t, log, strings.Repeat("x", 30_000))
	}
	whole := make([]byte, backupOf(t, log).Len())
	if _, err := backupOf(t, log).Read(whole); err != nil {
		t.Fatal(err)
	}
	propose(t, log, "last")
	want := state.commands()
	var damaged [][]byte
	ends, middle := 200, 200
	if testing.Short() {
		ends, middle = 50, 20
	}
	for i := range len(whole) {
		// All of both ends, and some of the middle.
		if i > ends && i < len(whole)-50 && random.IntN(len(whole)/middle) > 0 {
			continue
		}
		flipped := bytes.Clone(whole)
		flipped[i] ^= 1 << random.IntN(8)
		damaged = append(damaged, flipped, whole[:i])
	}
	damaged = append(damaged, append(bytes.Clone(whole), 0), append(bytes.Clone(whole), whole...), []byte("other"), nil)
	for i, backup := range damaged {
		if err := log.Restore(t.Context(), bytes.NewReader(backup)); err == nil {
			t.Fatalf("damaged backup %d was restored", i)
		}
	}
	newer := bytes.Clone(whole)
	binary.LittleEndian.PutUint32(newer[len(backupMagic):], backupVersion+1)
	if err := log.Restore(t.Context(), bytes.NewReader(newer)); !errors.Is(err, ErrNewerVersion) {
		t.Errorf("a newer backup: %v", err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := log.Restore(canceled, bytes.NewReader(whole)); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if got := state.commands(); !slices.Equal(got, want) {
		t.Error("a refused backup has changed the state")
	}
	t.Logf("%d damaged backups", len(damaged))
}

// TestKillWhileRestoring is a kill after a restore's snapshot is on the disk, and before the log that it replaces is
// gone.
func TestKillWhileRestoring(t *testing.T) {
	dir := t.TempDir()
	log := open(t, Config{Dir: dir, Bootstrap: true}, &book{})
	lead(t, log)
	propose(t, log, "first")
	backup := backupOf(t, log)
	propose(t, log, "second")
	log.Close()
	before := t.TempDir()
	if err := os.CopyFS(before, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	log = open(t, Config{Dir: dir}, &book{})
	lead(t, log)
	if err := log.Restore(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	log.Close()
	// The log of before, and the snapshot of after.
	if err := os.RemoveAll(filepath.Join(dir, logName)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(before, logName), filepath.Join(dir, logName)); err != nil {
		t.Fatal(err)
	}
	state := &book{}
	log = open(t, Config{Dir: dir}, state)
	lead(t, log)
	propose(t, log, "third")
	if got := state.commands(); !slices.Equal(got, []string{"first", "third"}) {
		t.Errorf("after the restart: %q", got)
	}
}

func TestBackupThatTheMachineRefusesIsNotRestored(t *testing.T) {
	state := &book{}
	log := open(t, Config{Dir: t.TempDir(), Bootstrap: true}, state)
	lead(t, log)
	propose(t, log, "first")
	backup := backupOf(t, log)
	propose(t, log, "second")
	state.refuse = errors.New("too new")
	if err := log.Restore(t.Context(), backup); !errors.Is(err, state.refuse) {
		t.Errorf("a backup that the state machine refuses: %v", err)
	}
	propose(t, log, "third")
	if got := state.commands(); !slices.Equal(got, []string{"first", "second", "third"}) {
		t.Errorf("the state has %q", got)
	}
}
