package replication

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is written after the data directory has been deleted is gone with the process, though no write fails: nothing
// may be acknowledged then.
func TestNothingIsAcknowledgedWithoutADataDirectory(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		lose func(dir string) error
	}{
		{"deleted", os.RemoveAll},
		{"moved", func(dir string) error { return os.Rename(dir, dir+".moved") }},
		{"replaced", func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".moved"), os.CopyFS(dir, os.DirFS(dir+".moved")))
		}},
		{"log deleted", func(dir string) error { return os.RemoveAll(filepath.Join(dir, logName)) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data")
			log := open(t, Config{Dir: dir, Bootstrap: true}, &book{})
			lead(t, log)
			propose(t, log, "before")
			if err := test.lose(dir); err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				if _, _, err := log.Propose(t.Context(), fmt.Appendf(nil, "after %d", i)); !errors.Is(err, ErrFailed) {
					t.Fatalf("a command without a data directory ended with %v, want %v", err, ErrFailed)
				}
			}
			err := <-log.Failed()
			if !errors.Is(err, errGone) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "restore a backup") {
				t.Errorf("the node failed with %v", err)
			}
		})
	}
}

// A node that writes nothing notices too.
func TestIdleNodeNoticesThatItsDataDirectoryIsGone(t *testing.T) {
	t.Parallel()
	for _, name := range []string{nodeName, logName, snapshotsName, ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data")
			log := open(t, Config{Dir: dir, Bootstrap: true}, &book{})
			lead(t, log)
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*presenceInterval)
			defer cancel()
			select {
			case err := <-log.Failed():
				if !errors.Is(err, errGone) {
					t.Errorf("the node failed with %v", err)
				}
			case <-ctx.Done():
				t.Errorf("the node has not noticed within %v", 10*presenceInterval)
			}
		})
	}
}

// Others must not read the snapshots, in a folder that existed before either.
func TestDataIsForThisUserAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	log := open(t, Config{Dir: dir, Bootstrap: true}, &book{})
	lead(t, log)
	propose(t, log, "one")
	if err := log.Snapshot(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", entry.Name(), info.Mode())
		}
	}
}
