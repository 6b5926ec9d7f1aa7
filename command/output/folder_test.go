package output

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A folder is there whole or as it was, and nothing lies about beside it.
func TestWriteFolder(t *testing.T) {
	broken := errors.New("broken off")
	for _, test := range []struct {
		name, path string
		// before is made before: a folder if it ends with a slash, else a file.
		before string
		fails  error
		want   string
	}{
		{name: "new", path: "out"},
		{name: "below others", path: "a/b/out"},
		{name: "empty", path: "out", before: "out/"},
		{name: "a new file system", path: "out", before: "out/lost+found/"},
		{name: "full", path: "out", before: "out/file", want: "the folder out is not empty, it has file: choose another with --folder"},
		{name: "a file", path: "out", before: "out", want: "cannot write out: it is a file"},
		{name: "broken off", path: "out", fails: broken, want: "broken off"},
		{name: "broken off, empty", path: "out", before: "out/", fails: broken, want: "broken off"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if test.before != "" {
				if err := os.MkdirAll(filepath.Dir(test.before), 0o777); err != nil {
					t.Fatal(err)
				}
				if !strings.HasSuffix(test.before, "/") {
					if err := os.WriteFile(test.before, nil, 0o666); err != nil {
						t.Fatal(err)
					}
				}
			}
			err := WriteFolder(test.path, func(folder string) error {
				if err := os.WriteFile(filepath.Join(folder, "new"), []byte("content"), 0o666); err != nil {
					return err
				}
				if _, err := os.Stat(filepath.Join(test.path, "new")); err == nil {
					t.Error("the file is there before the folder is whole")
				}
				return test.fails
			})
			if test.want != "" {
				if err == nil || err.Error() != test.want {
					t.Errorf("error is %v, want %s", err, test.want)
				}
			} else if err != nil {
				t.Error(err)
			}
			content, _ := os.ReadFile(filepath.Join(test.path, "new"))
			if (string(content) == "content") != (test.want == "") {
				t.Errorf("the file has %q", content)
			}
			entries, err := os.ReadDir(filepath.Dir(test.path))
			if err != nil && test.want == "" || len(entries) > 1 || len(entries) == 1 && entries[0].Name() != "out" {
				t.Errorf("beside it are %v, %v", entries, err)
			}
			if _, err := os.Stat(test.before); test.before != "" && test.want != "" && err != nil {
				t.Errorf("what was there is gone: %v", err)
			}
		})
	}
}

// A folder that is there stays the same one: it may be a mount point, linked to, or in a folder that can't be written.
func TestWriteFolderThatIsThere(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := errors.Join(os.MkdirAll("locked/out", 0o777), os.Symlink("locked/out", "link"),
		os.Symlink("nowhere", "broken")); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat("locked/out")
	if err != nil {
		t.Fatal(err)
	}
	write := func(folder string) error {
		return errors.Join(os.Mkdir(filepath.Join(folder, "a"), 0o777), os.WriteFile(filepath.Join(folder, "a/b"), nil, 0o666))
	}
	t.Run("in a folder that can't be written", func(t *testing.T) {
		if os.Geteuid() == 0 {
			t.Skip("root can write to every folder")
		}
		if err := os.Chmod("locked", 0o555); err != nil {
			t.Fatal(err)
		}
		defer os.Chmod("locked", 0o777)
		if err := errors.Join(WriteFolder("link", write), os.RemoveAll("link/a")); err != nil {
			t.Fatal(err)
		}
	})
	if err := WriteFolder("link", write); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat("locked/out")
	entries, _ := os.ReadDir("link")
	if err != nil || !os.SameFile(before, after) || len(entries) != 1 || entries[0].Name() != "a" {
		t.Errorf("the folder has %v, or is another one (%v)", entries, err)
	}
	if link, err := os.Readlink("link"); err != nil || link != "locked/out" {
		t.Errorf("the link is %q, %v", link, err)
	}
	want := "cannot write broken: it is a link to what is not there"
	if err := WriteFolder("broken", write); err == nil || err.Error() != want {
		t.Errorf("error is %v, want %s", err, want)
	}
	if err := os.Mkdir("meanwhile", 0o777); err != nil {
		t.Fatal(err)
	}
	err = WriteFolder("meanwhile", func(folder string) error {
		return errors.Join(write(folder), os.WriteFile("meanwhile/a", nil, 0o666))
	})
	entries, _ = os.ReadDir("meanwhile")
	if err == nil || !strings.Contains(err.Error(), "something else was written to it meanwhile") || len(entries) != 1 {
		t.Errorf("error is %v, and the folder has %v", err, entries)
	}
}
