package replication

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

// vastSize is how much a vast state writes and reads.
const vastSize = 96 << 20

// vast is a state without memory, which writes much.
type vast struct{}

var (
	_ StateMachine = vast{}
	_ Checker      = vast{}
)

func (vast) Apply(uint64, []byte) any { return nil }

func (vast) Snapshot() (Snapshot, error) { return vast{}, nil }

func (vast) WriteTo(w io.Writer) (written int64, err error) {
	for block := make([]byte, 64<<10); written < vastSize && err == nil; {
		var n int
		n, err = w.Write(block)
		written += int64(n)
	}
	return written, err
}

func (vast) Restore(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

func (v vast) Check(r io.Reader) error { return v.Restore(r) }

// Snapshots and backups are streams on all their ways: none of them is in memory as a whole, or a large part of it.
func TestSnapshotsStream(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	log := open(t, Config{Dir: t.TempDir(), Bootstrap: true}, vast{})
	lead(t, log)
	propose(t, log, "something")
	backup, err := os.Create(filepath.Join(t.TempDir(), "backup"))
	if err != nil {
		t.Fatal(err)
	}
	defer backup.Close()
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"a snapshot", log.Snapshot},
		{"a backup", func() error { return log.Backup(t.Context(), backup) }},
		{"a restore", func() error {
			if _, err := backup.Seek(0, io.SeekStart); err != nil {
				return err
			}
			return log.Restore(t.Context(), backup)
		}},
	} {
		peak, err := peakOf(step.do)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s of %d MiB takes %d MiB of memory at most", step.name, vastSize>>20, peak>>20)
		if peak > vastSize/6 {
			t.Errorf("%s takes %d bytes of memory, more than a sixth of it", step.name, peak)
		}
	}
}

// peakOf returns how much more the heap has had at any time while something was done.
func peakOf(do func() error) (most uint64, err error) {
	objects := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	now := func() uint64 {
		metrics.Read(objects)
		return objects[0].Value.Uint64()
	}
	runtime.GC()
	before := now()
	done := make(chan error)
	go func() { done <- do() }()
	for {
		select {
		case err := <-done:
			return most - min(most, before), err
		case <-time.After(time.Millisecond):
			most = max(most, now())
		}
	}
}
