package worker

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func packageFiles(t *testing.T, folder string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(folder, "trellis", "__init__.py"))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// The Python package is unpacked once, and again if it was damaged.
func TestUnpackPython(t *testing.T) {
	cache := t.TempDir()
	folder, err := UnpackPython(cache)
	if err != nil {
		t.Fatal(err)
	}
	want := packageFiles(t, folder)
	compiled := filepath.Join(folder, "trellis", "__pycache__")
	if err := os.Mkdir(compiled, 0o755); err != nil {
		t.Fatal(err)
	}

	again, err := UnpackPython(cache)
	if err != nil || again != folder {
		t.Fatalf("UnpackPython = %q, %v, want %q", again, err, folder)
	}
	if _, err := os.Stat(compiled); err != nil {
		t.Errorf("what Python has compiled is gone: %v", err)
	}

	for name, damage := range map[string]func(path string) error{
		"changed": func(path string) error { return os.WriteFile(path, []byte("import os"), 0o600) },
		"removed": os.Remove,
	} {
		if err := damage(filepath.Join(folder, "trellis", "__init__.py")); err != nil {
			t.Fatal(err)
		}
		again, err := UnpackPython(cache)
		if err != nil || again != folder {
			t.Fatalf("%s: UnpackPython = %q, %v, want %q", name, again, err, folder)
		}
		if packageFiles(t, folder) != want {
			t.Errorf("%s: it is not put right", name)
		}
	}
	if entries, err := os.ReadDir(filepath.Join(cache, pythonFolder)); err != nil || len(entries) != 1 {
		t.Errorf("%d entries are left, %v", len(entries), err)
	}
}

// Workers that share a cache unpack at the same time.
func TestUnpackPythonAtOnce(t *testing.T) {
	cache := t.TempDir()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := UnpackPython(cache); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	folder, err := UnpackPython(cache)
	if err != nil {
		t.Fatal(err)
	}
	packageFiles(t, folder)
}

// Programs run in other folders than the worker, whose cache may be named relative to its own.
func TestUnpackPythonIntoARelativeFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	folder, err := UnpackPython("cache")
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(folder) {
		t.Errorf("UnpackPython = %q, which is relative", folder)
	}
	packageFiles(t, folder)
}
