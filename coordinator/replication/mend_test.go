package replication

import (
	"bytes"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// openLogFolder opens a log in a folder, behind a guard whose writes fail as fault says.
func openLogFolder(t *testing.T, dir string, fault func(string) error) (*wal.WAL, error) {
	t.Helper()
	g := &guard{failure: newFailure(), stall: time.Minute, fault: fault}
	return openWAL(dir, g, files(), newLibraryLogger(slog.New(slog.DiscardHandler)))
}

// appendBatch appends a batch of entries of so many bytes each.
func appendBatch(t *testing.T, log *wal.WAL, sizes ...int) {
	t.Helper()
	last, err := log.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	var entries []*raft.Log
	for i, size := range sizes {
		index := last + uint64(i) + 1
		entries = append(entries, &raft.Log{Index: index, Term: 1, Data: content(index, size)})
	}
	if err := log.StoreLogs(entries); err != nil {
		t.Fatal(err)
	}
}

// content are the bytes of an entry. They pass for frames: an empty entry and two commits, again and again. Where they
// begin in 8 bytes depends on the index.
func content(index uint64, size int) []byte {
	frames := make([]byte, 3*frameHeaderSize)
	frames[0], frames[frameHeaderSize], frames[2*frameHeaderSize] = entryFrame, commitFrame, commitFrame
	data := make([]byte, index%frameHeaderSize, size+len(frames))
	for len(data) < size {
		data = append(data, frames...)
	}
	return data[:size]
}

// checkEntries checks that the log has exactly the entries up to last, and can go on.
func checkEntries(t *testing.T, dir string, last uint64, sizes ...int) {
	t.Helper()
	log, err := openLogFolder(t, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if got, err := log.LastIndex(); got != last || err != nil {
		t.Fatalf("the log ends with entry %d (%v), not %d", got, err, last)
	}
	for i := range last {
		var entry raft.Log
		if err := log.GetLog(i+1, &entry); err != nil {
			t.Fatal(err)
		}
		if want := content(i+1, sizes[i]); !bytes.Equal(entry.Data, want) {
			t.Fatalf("entry %d is not as it was written", i+1)
		}
	}
	appendBatch(t, log, 100)
}

// lastFile returns the file of the log that entries are appended to.
func lastFile(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	return names[len(names)-1]
}

// TestKillBetweenFullFileAndNextFile is a kill after a file of the log is full and before the next one is listed:
// raft-wal alone refuses every append from then on.
func TestKillBetweenFullFileAndNextFile(t *testing.T) {
	t.Parallel()
	for _, batches := range [][]int{{5 << 20, 5 << 20, 5 << 20, 5 << 20}, {17 << 20}} {
		dir, lists := t.TempDir(), 0
		log, err := openLogFolder(t, dir, func(what string) error {
			if strings.Contains(what, "wal-meta.db") {
				if lists++; lists > 2 {
					return syscall.EIO
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range batches {
			appendBatch(t, log, size)
		}
		log.Close()
		checkEntries(t, dir, uint64(len(batches)), batches...)
		checkEntries(t, dir, uint64(len(batches))+1, append(batches, 100)...)
	}
}

func TestTornBatch(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	befores := 8
	if testing.Short() {
		befores = 1
	}
	for before := range befores {
		// The torn batch begins with another entry each time.
		checkTornBatch(t, random, before)
	}
}

func checkTornBatch(t *testing.T, random *rand.Rand, before int) {
	t.Helper()
	whole := t.TempDir()
	log, err := openLogFolder(t, whole, nil)
	if err != nil {
		t.Fatal(err)
	}
	var sizes []int
	for i := range before {
		sizes = append(sizes, 10_000/(i+1))
		appendBatch(t, log, sizes[i])
	}
	start := len(trimZeros(readFile(t, lastFile(t, whole))))
	appendBatch(t, log, 5000, 8, 9000)
	log.Close()
	full := readFile(t, lastFile(t, whole))
	end := len(trimZeros(full))
	for kind := range 3 {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
			t.Fatal(err)
		}
		// The crash leaves the beginning of the batch, or any of its sectors, or all but the end of the last one.
		torn := bytes.Clone(full)
		switch kind {
		case 0:
			clear(torn[start+random.IntN(end-start):])
		case 1:
			for sector := start/512*512 + 512; sector < end; sector += 512 {
				if random.IntN(2) == 0 {
					clear(torn[sector:min(sector+512, end)])
				}
			}
		}
		clear(torn[end-1 : end])
		if err := os.WriteFile(lastFile(t, dir), torn, 0o600); err != nil {
			t.Fatal(err)
		}
		checkEntries(t, dir, uint64(before), sizes...)
		// Nothing of the torn batch is left to be taken for what was appended later.
		checkEntries(t, dir, uint64(before)+1, append(sizes[:before:before], 100)...)
		checkEntries(t, dir, uint64(before)+2, append(sizes[:before:before], 100, 100)...)
	}
}

func TestDamagedBatchIsNotForgotten(t *testing.T) {
	dir := t.TempDir()
	log, err := openLogFolder(t, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	appendBatch(t, log, 1000)
	appendBatch(t, log, 1000)
	log.Close()
	damaged := readFile(t, lastFile(t, dir))
	damaged[500] ^= 1
	if err := os.WriteFile(lastFile(t, dir), damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openLogFolder(t, dir, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("a log with a damaged entry opens: %v", err)
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
