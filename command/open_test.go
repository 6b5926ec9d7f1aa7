package command

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"trellis/command/exit"
)

// onlyTrellis makes a folder the only one where commands are found. It has trellis.
func onlyTrellis(t *testing.T) (folder string) {
	t.Helper()
	folder = t.TempDir()
	binary, err := exec.LookPath("trellis")
	if err == nil {
		err = os.Symlink(binary, filepath.Join(folder, "trellis"))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", folder)
	return folder
}

// fakeBrowser adds a command that opens links to that folder: it keeps what it is called with in a file, and ends with an exit
// code.
func fakeBrowser(t *testing.T, code int) (opened string) {
	t.Helper()
	folder := onlyTrellis(t)
	opened = filepath.Join(folder, "opened")
	name := "xdg-open"
	if runtime.GOOS == "darwin" {
		name = "open"
	}
	script := fmt.Sprintf("#!/bin/sh\necho \"$@\" >'%[1]s.new' && /bin/mv '%[1]s.new' '%[1]s'\nexit %[2]d\n", opened, code)
	if err := os.WriteFile(filepath.Join(folder, name), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return opened
}

// awaitFile returns what is in a file once it is there.
func awaitFile(t *testing.T, path string) string {
	t.Helper()
	for began := time.Now(); time.Since(began) < patience; time.Sleep(10 * time.Millisecond) {
		if content, err := os.ReadFile(path); err == nil {
			return strings.TrimSpace(string(content))
		}
	}
	t.Fatalf("%s is not there within %v", path, patience)
	return ""
}

// The link that a coordinator prints is the one that it opens.
func TestCoordinatorOpensThePage(t *testing.T) {
	opened := fakeBrowser(t, 0)
	coordinator, _ := startCoordinator(t, "--in-memory", "--http", "127.0.0.1:0", "--open")
	link := coordinator.await(t, `^Web page: +(http://\S+) `)
	if got := awaitFile(t, opened); got != link {
		t.Errorf("opened %q, and said %q", got, link)
	}
}

// A run opens its study.
func TestRunOpensItsStudy(t *testing.T) {
	opened := fakeBrowser(t, 0)
	spec := filepath.Join(t.TempDir(), "spec.yaml")
	text := "name: shown\nmodel: synthetic\ngrid: {latent_dim: 4, learning_rate: 1e-3, max_epochs: 2}\n"
	if err := os.WriteFile(spec, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	mustTrellis(t, "run", "--open", spec)
	if got := awaitFile(t, opened); !strings.HasPrefix(got, "http://127.0.0.1:") || !strings.HasSuffix(got, "/studies/shown") {
		t.Errorf("opened %q", got)
	}
}

// Where no browser can be opened, the coordinator says so and goes on.
func TestNoBrowser(t *testing.T) {
	fakeBrowser(t, 3)
	failing, _ := startCoordinator(t, "--in-memory", "--http", "127.0.0.1:0", "--open")
	failing.await(t, `^trellis: cannot open the web page: \S+open: exit status 3\. Open it yourself: (http://127\S+/)$`)
	onlyTrellis(t)
	without, _ := startCoordinator(t, "--in-memory", "--http", "127.0.0.1:0", "--open")
	without.await(t, `^trellis: cannot open the web page: \S+open is not installed\. Open it yourself: (http://127\S+/)$`)
	without.stop(t)
	if _, stderr, code := trellis(t, "coordinator", "--in-memory", "--open"); code != exit.Usage || !strings.Contains(stderr, "--open needs --http") {
		t.Errorf("without --http: exit code %d, %s", code, stderr)
	}
}
