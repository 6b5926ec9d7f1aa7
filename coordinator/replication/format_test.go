package replication

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
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
		writeFormat(t, filepath.Join("testdata", fmt.Sprint("format", formatVersion)))
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
			if got := formatOf(t, dir); got != formatVersion {
				t.Errorf("an older version would open it: it has format %d", got)
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

// formatOf is the format of a data directory.
func formatOf(t *testing.T, dir string) int {
	t.Helper()
	var written identity
	if err := json.Unmarshal(readFile(t, filepath.Join(dir, nodeName)), &written); err != nil {
		t.Fatal(err)
	}
	return written.Format
}

// writeFormat writes a data directory and a backup of the current format.
func writeFormat(t *testing.T, target string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, nodeName), fmt.Appendf(nil, "{\"format\":%d,\"id\":\"oldnode\"}\n",
		formatVersion), 0o600); err != nil {
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

// TestDamagedState: a snapshot is refused if its state, or the checksum of that, is not what was written. Raft knows only the
// size of the state of the current format, and the checksum of that of format 1.
func TestDamagedState(t *testing.T) {
	for format := 1; format <= formatVersion; format++ {
		for _, name := range []string{stateName, checksumName} {
			source := os.DirFS(filepath.Join("testdata", fmt.Sprint("format", format), "node"))
			dir := t.TempDir()
			if err := os.CopyFS(dir, source); err != nil {
				t.Fatal(err)
			}
			files, err := filepath.Glob(filepath.Join(dir, snapshotsName, "*", name))
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				content := readFile(t, file)
				content[len(content)/2] ^= 1
				if err := os.WriteFile(file, content, 0o600); err != nil {
					t.Fatal(err)
				}
				openFails(t, Config{Dir: dir}, ErrDamaged, "restore a backup", "CRC")
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
				openFails(t, Config{Dir: dir}, ErrDamaged, "restore a backup")
				if got := formatOf(t, dir); got != format {
					t.Errorf("a directory that could not be opened has format %d, and had %d", got, format)
				}
			}
			if want := format > 1 || name == stateName; (len(files) > 0) != want {
				t.Errorf("format %d has %s: %v", format, name, !want)
			}
		}
	}
}
