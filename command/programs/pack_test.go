package programs

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trellis/command/spec"
	"trellis/worker/archive"
)

// written writes files by their paths.
func written(t *testing.T, folder string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// names are those of the files in a folder, sorted.
func names(t *testing.T, folder string) (names []string) {
	t.Helper()
	if err := filepath.Walk(folder, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			relative, err := filepath.Rel(folder, path)
			if err != nil {
				return err
			}
			names = append(names, relative)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func TestPackedFiles(t *testing.T) {
	folder := t.TempDir()
	written(t, folder, map[string]string{
		"spec.yaml": "name: p\nprogram: {command: [./train.sh], files: .}\nobjective: {metric: loss}\n" +
			"grid: {latent_dim: 1, learning_rate: 0.1, max_epochs: 1}\n",
		"train.sh": "#!/bin/sh\n", "lib/a.py": "a", "lib/__pycache__/a.pyc": "x", ".git/config": "x", "notes.txt": "x",
		"data/big": "x", "data/kept/small": "k", "out/one/log": "x", "kept.pyc": "k",
		"studies/log": "x", "studies/node.json": "x", "studies/artifacts/1": "x",
		IgnoreFile: "# What it does not need.\n*.txt\n/data/*\n!/data/kept/\nout/\n!kept.pyc\n",
	})
	pack := func() *Packed {
		file, err := spec.Read(filepath.Join(folder, "spec.yaml"), nil)
		if err != nil {
			t.Fatal(err)
		}
		packed, err := Pack(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		if file.Spec.GetProgram().GetFiles() != packed.Files {
			t.Error("the spec does not have the files")
		}
		return packed
	}
	packed := pack()
	unpacked := t.TempDir()
	root, err := os.OpenRoot(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	content, err := os.Open(packed.path)
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	if _, err := archive.Unpack(t.Context(), content, root, archive.Limits{Files: 100, Bytes: 1000}); err != nil {
		t.Fatal(err)
	}
	want := []string{IgnoreFile, "data/kept/small", "kept.pyc", "lib/a.py", "train.sh"}
	if got := names(t, unpacked); !slices.Equal(got, want) {
		t.Errorf("packed are %q, want %q", got, want)
	}
	if packed.Files.GetCount() != uint32(len(want)) {
		t.Errorf("%d files are counted", packed.Files.GetCount())
	}
	add := func(name, text string) {
		t.Helper()
		content, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		written(t, folder, map[string]string{name: string(content) + text})
	}
	add("spec.yaml", "# The spec is no file of the program.\n")
	again := pack()
	if again.Files.GetSha256() != packed.Files.GetSha256() {
		t.Error("the same files have another digest")
	}
	add(IgnoreFile, "!spec.yaml\n")
	with := pack()
	if with.Files.GetCount() != again.Files.GetCount()+1 {
		t.Errorf("%d files are counted with the spec", with.Files.GetCount())
	}
	for _, one := range []*Packed{packed, again, with} {
		if err := one.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(one.path); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", one.path, err)
		}
	}
}

func TestUnpackableFiles(t *testing.T) {
	folder := t.TempDir()
	written(t, folder, map[string]string{"spec.yaml": "name: p\nprogram:\n  command: [./train.sh]\n  files: .\n" +
		"objective: {metric: loss}\ngrid: {latent_dim: 1, learning_rate: 0.1, max_epochs: 1}\n"})
	if err := os.Symlink("/etc/passwd", filepath.Join(folder, "outside")); err != nil {
		t.Fatal(err)
	}
	file, err := spec.Read(filepath.Join(folder, "spec.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Pack(t.Context(), file)
	if err == nil || !strings.Contains(err.Error(), "spec.yaml:4:10: cannot pack "+folder+": outside is a link") {
		t.Errorf("got %v", err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if _, err := Pack(stopped, file); err == nil {
		t.Error("it was packed after it was interrupted")
	}
}
