package replication

import (
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A backup takes only what the log can spare, twice over, and what it has taken is given back when others need it.
func TestASpoolLeavesTheLogItsRoom(t *testing.T) {
	log := open(t, Config{Dir: t.TempDir(), Bootstrap: true}, &book{})
	lead(t, log)
	made, err := log.newSpool()
	if err != nil {
		t.Fatal(err)
	}
	defer made.discard()
	synctest.Test(t, func(t *testing.T) {
		var free atomic.Uint64
		free.Store(spoolReserve + 2*backupChunk)
		made.space = func() (uint64, error) { return free.Load(), nil }
		if _, err := made.Write(make([]byte, backupChunk)); err != nil {
			t.Fatal(err)
		}
		free.Store(free.Load() - backupChunk)
		if _, err := made.Write(make([]byte, 1)); !errors.Is(err, ErrNoSpace) ||
			!strings.Contains(err.Error(), "the log keeps 32 MiB") {
			t.Errorf("beyond half of what is free: %v", err)
		}
		if err := made.room(0); err != nil {
			t.Errorf("no room for the copy of what was received: %v", err)
		}
		go made.watch(t.Context())
		time.Sleep(2 * spoolCheck) // The clock is synctest's.
		if err := made.gaveUp(); err != nil {
			t.Errorf("with the reserve free, it was given up: %v", err)
		}
		free.Store(spoolReserve - 1)
		time.Sleep(2 * spoolCheck)
		if err := made.gaveUp(); !errors.Is(err, ErrNoSpace) {
			t.Errorf("with less than the reserve free: %v", err)
		}
		free.Store(1 << 40)
		if _, err := made.Write([]byte("more")); !errors.Is(err, ErrNoSpace) {
			t.Errorf("after it was given up: %v", err)
		}
	})
	if size, err := made.file.Seek(0, io.SeekEnd); err != nil || size != 0 {
		t.Errorf("it still has %d bytes, %v", size, err)
	}
}

// A backup that is cut off by a full disk is refused as such, and not as damaged.
func TestABackupWithoutRoomIsRefused(t *testing.T) {
	if err := notKept(ErrNoSpace); !errors.Is(err, ErrNoSpace) || strings.Contains(err.Error(), "check the disk") {
		t.Error(err)
	}
	log := open(t, Config{Dir: t.TempDir(), Bootstrap: true}, &book{})
	lead(t, log)
	propose(t, log, strings.Repeat("x", 50_000))
	backup := backupOf(t, log)
	full, err := log.newSpool()
	if err != nil {
		t.Fatal(err)
	}
	defer full.discard()
	full.space = func() (uint64, error) { return spoolReserve + 1000, nil }
	if _, _, err := readBackup(t.Context(), backup, full); !errors.Is(err, ErrNoSpace) || errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}
