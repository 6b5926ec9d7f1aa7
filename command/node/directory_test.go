package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"trellis/command/exit"
	"trellis/coordinator/replication"
)

func TestDefaultDataDirectory(t *testing.T) {
	for _, test := range []struct{ home, data, want string }{
		{"/home/me", "", "/home/me/.local/share/trellis"},
		{"/home/me", "/data/me", "/data/me/trellis"},
		{"", "/data/me", "/data/me/trellis"},
		// The standard says that what is not absolute is to be ignored.
		{"/home/me", "data", "/home/me/.local/share/trellis"},
		{"", "", ""},
	} {
		t.Setenv("HOME", test.home)
		t.Setenv(DataHomeVariable, test.data)
		got, err := DefaultDirectory()
		if got != test.want || (err != nil) != (test.want == "") {
			t.Errorf("%+v: got %q, %v", test, got, err)
		}
	}
}

// A data directory is made for its owner alone, and what was there before is seen.
func TestOpenDataDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	directory, err := openDirectory(path, "")
	if err != nil || directory.Found || directory.Describe() != "Studies are in "+path+" (new)." {
		t.Errorf("got %+v, %v: %s", directory, err, directory.Describe())
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("it is %v, %v", info, err)
	}
	if err := os.Mkdir(filepath.Join(path, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if directory, err = openDirectory(path, ""); err != nil || directory.Found {
		t.Errorf("a new file system is %+v, %v", directory, err)
	}
	if err := os.WriteFile(filepath.Join(path, "log"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	directory, err = openDirectory(path, "")
	if err != nil || !directory.Found || directory.Describe() != "Studies are in "+path+" (existing)." {
		t.Errorf("got %+v, %v: %s", directory, err, directory.Describe())
	}
	if directory, err := openDirectory("", ""); err != nil ||
		!strings.Contains(directory.Describe(), "in memory only") {
		t.Errorf("none is %+v, %v", directory, err)
	}
	if _, err := openDirectory(filepath.Join(path, "log"), ""); err == nil ||
		!strings.Contains(err.Error(), "it is not a folder") {
		t.Errorf("a file is no folder: %v", err)
	}
}

// What keeps a coordinator from starting is said with what can be done about it.
func TestExplain(t *testing.T) {
	other := errors.New("something else")
	for _, test := range []struct {
		explain func(error) error
		err     error
		want    string
	}{
		{explainDirectory, syscall.ENOSPC, "free disk space"},
		{explainDirectory, syscall.EDQUOT, "free disk space"},
		{explainDirectory, os.ErrPermission, "this user cannot write there"},
		{explainDirectory, syscall.EROFS, "this user cannot write there"},
		{explainDirectory, syscall.ENOTDIR, "it is not a folder"},
		{Directory{}.explainLog, replication.ErrLocked, "with --data"},
		{Directory{Flag: "--output"}.explainLog, replication.ErrLocked, "with --output"},
		{Directory{}.explainLog, replication.ErrDamaged, "to recover from a backup"},
	} {
		err := test.explain(fmt.Errorf("open the log: %w", test.err))
		if !errors.Is(err, test.err) || !strings.HasPrefix(err.Error(), "open the log: ") ||
			!strings.Contains(err.Error(), test.want) || exit.Code(err) != exit.Error {
			t.Errorf("%v: got %v", test.err, err)
		}
		if got := test.explain(other); got != other {
			t.Errorf("got %v", got)
		}
		if got := test.explain(nil); got != nil {
			t.Errorf("got %v", got)
		}
	}
}
