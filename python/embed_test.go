package python_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trellis/python"
)

// All of the package is in the binary, and nothing else.
func TestFilesAreThePackage(t *testing.T) {
	var embedded, onDisk []string
	list := func(files fs.FS, names *[]string) {
		err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
			if entry != nil && entry.Name() == "__pycache__" {
				return fs.SkipDir
			}
			if err == nil && !entry.IsDir() && !strings.HasPrefix(entry.Name(), ".") {
				*names = append(*names, name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	list(python.Files(), &embedded)
	trellis, err := fs.Sub(os.DirFS("."), "trellis")
	if err != nil {
		t.Fatal(err)
	}
	list(trellis, &onDisk)
	for i, name := range onDisk {
		onDisk[i] = "trellis/" + name
	}
	if !slices.Equal(embedded, onDisk) {
		t.Errorf("embedded %q\non disk %q", embedded, onDisk)
	}
}

// What was unpacked can be imported, from a folder that can't be written.
func TestFilesAreImported(t *testing.T) {
	interpreter, err := exec.LookPath("python3")
	if err != nil {
		t.Fatalf("tests of programs need Python 3.10 or newer: %v", err)
	}
	folder := filepath.Join(t.TempDir(), "python")
	if err := os.CopyFS(folder, python.Files()); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(interpreter, "-c",
		"import trellis; trellis.defaults(max_epochs=1); trellis.report(loss=0.5)")
	command.Dir = t.TempDir()
	command.Env = append(os.Environ(), "PYTHONPATH="+folder, "PYTHONDONTWRITEBYTECODE=1", "TRELLIS_RUN=")
	output, err := command.CombinedOutput()
	if err != nil || string(output) != "epoch 1/1 loss=0.5\n" {
		t.Errorf("%v: %s", err, output)
	}
}
