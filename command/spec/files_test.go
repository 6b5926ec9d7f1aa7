package spec

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const programSpec = `name: files
program:
  command: [./train.sh]
  files: FOLDER
objective: {metric: loss}
resources: {memory: 1.5GiB}
grid: {latent_dim: 1, learning_rate: 0.1, max_epochs: 3}
`

// A folder of files is relative to the spec file, and what is wrong with it is said where the file names it.
func TestFilesFolder(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "spec.yaml")
	if err := os.Mkdir(filepath.Join(folder, "src"), 0o755); err != nil {
		t.Fatal(err)
	}
	read := func(named string) (*File, error) {
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(programSpec, "FOLDER", named)), 0o644); err != nil {
			t.Fatal(err)
		}
		return Read(path, nil)
	}
	for _, named := range []string{"src", filepath.Join(folder, "src")} {
		file, err := read(named)
		if err != nil {
			t.Fatal(err)
		}
		if file.Files == nil || file.Files.Folder != filepath.Join(folder, "src") {
			t.Errorf("%s: the folder is %v", named, file.Files)
		}
		if its := file.Spec.GetProgram(); its.GetFiles() != nil || its.GetCommand()[0] != "./train.sh" {
			t.Errorf("the program is %v", its)
		}
		if memory := file.Spec.GetResources().GetMemory(); memory != 3<<29 {
			t.Errorf("memory is %d bytes", memory)
		}
	}
	for named, want := range map[string]string{
		"missing":   ":4:10: the folder " + filepath.Join(folder, "missing") + " does not exist\n    4 |   files: missing\n",
		"spec.yaml": ":4:10: " + path + " is not a folder",
	} {
		if _, err := read(named); err == nil || !strings.HasPrefix(err.Error(), path+want) {
			t.Errorf("%s: got %v, want %s", named, err, want)
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]uint64{
		"8GiB": 8 << 30, "8 GiB": 8 << 30, "0.5MiB": 1 << 19, "1000": 1000, "2GB": 2e9, "1e3": 1000,
		"": 0, "GiB": 0, "-1GiB": 0, "8G": 0, "NaN": 0, "1e30": 0, "8gib": 0,
	} {
		if got, ok := ParseSize(text); got != want || ok != (want > 0) {
			t.Errorf("ParseSize(%q) is %d, %t, want %d", text, got, ok, want)
		}
	}
}
