package replication

import (
	"log/slog"
	"testing"
)

// A snapshot is due after a number of entries or bytes, and after a part of the newest one's size where that is large.
func TestSnapshotDue(t *testing.T) {
	config := Config{SnapshotEntries: 100, SnapshotBytes: 1000}
	m := &machine{due: make(chan struct{}, 1), logger: slog.Default()}
	for _, its := range []struct {
		entries, bytes, snapshot uint64
		share                    float64
		want                     bool
	}{
		{entries: 99, bytes: 999, share: 1},
		{entries: 100, share: 1, want: true},
		{entries: 50, share: 0.5, want: true},
		{bytes: 1000, share: 1, want: true},
		{bytes: 500, share: 0.5, want: true},
		{bytes: 1000, snapshot: 1000 * snapshotPart, share: 1, want: true},
		{bytes: 1999, snapshot: 2000 * snapshotPart, share: 1},
		{bytes: 2000, snapshot: 2000 * snapshotPart, share: 1, want: true},
		{entries: 100, snapshot: 2000 * snapshotPart, share: 1, want: true},
	} {
		m.entries, m.bytes = its.entries, its.bytes
		m.snapshot.Store(its.snapshot)
		if got := m.snapshotDue(its.share, config); got != its.want {
			t.Errorf("%+v: %v", its, got)
		}
	}
}
