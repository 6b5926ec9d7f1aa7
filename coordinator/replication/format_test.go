package replication

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

var update = flag.Bool("update", false, "write the data directory and the backup of the current format to testdata")

// formatCommands are the commands of the data directories and backups in testdata. After the first five there is a
// snapshot.
var formatCommands = []string{"one", "two", "three", "four", "five", "six", "seven"}

// TestOldFormats opens data directories and backups that older versions wrote. When the format changes, a new one joins
// those in testdata: -update writes it.
func TestOldFormats(t *testing.T) {
	if *update {
		writeFormat(t, filepath.Join("testdata", "format1"))
	}
	directories, err := filepath.Glob(filepath.Join("testdata", "format*"))
	if err != nil || len(directories) < formatVersion {
		t.Fatalf("there are only %v: %v", directories, err)
	}
	for _, source := range directories {
		t.Run(filepath.Base(source), func(t *testing.T) {
			dir, state := t.TempDir(), &book{}
			if err := os.CopyFS(dir, os.DirFS(filepath.Join(source, "node"))); err != nil {
				t.Fatal(err)
			}
			log := open(t, Config{Dir: dir}, state)
			lead(t, log)
			if got := log.Status().ID; got != "oldnode" {
				t.Errorf("the node is %q", got)
			}
			propose(t, log, "eight")
			if got := state.commands(); !slices.Equal(got, append(formatCommands[:7:7], "eight")) {
				t.Errorf("the log has %q", got)
			}
			if err := log.Restore(t.Context(),
				bytes.NewReader(readFile(t, filepath.Join(source, "backup")))); err != nil {
				t.Fatal(err)
			}
			if got := state.commands(); !slices.Equal(got, formatCommands[:5]) {
				t.Errorf("the backup has %q", got)
			}
		})
	}
}

// writeFormat writes a data directory and a backup of the current format.
func writeFormat(t *testing.T, target string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, nodeName), []byte(`{"format":1,"id":"oldnode"}`+"\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	log := open(t, Config{Dir: dir, Bootstrap: true, TrailingEntries: 1}, &book{})
	lead(t, log)
	var backup []byte
	for i, command := range formatCommands {
		propose(t, log, command)
		if i == 4 {
			if err := log.Snapshot(); err != nil {
				t.Fatal(err)
			}
			backup = make([]byte, backupOf(t, log).Len())
			if _, err := backupOf(t, log).Read(backup); err != nil {
				t.Fatal(err)
			}
		}
	}
	log.Close()
	file := lastFile(t, filepath.Join(dir, logName))
	if err := os.WriteFile(file, trimZeros(readFile(t, file)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(target); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(target, "node"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(target, "backup"), backup, 0o600); err != nil {
		t.Fatal(err)
	}
}
