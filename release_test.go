package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A release build writes its version where `trellis version` reads it. The linker says nothing about an unknown symbol.
func TestReleaseVersion(t *testing.T) {
	const release = "7.8.9-test.1"
	var symbols []string
	for _, path := range []string{".ci/release", "deploy/Dockerfile"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		symbol := regexp.MustCompile(`-X (\S+)=\$`).FindSubmatch(text)
		if symbol == nil {
			t.Fatalf("%s gives the linker no version", path)
		}
		symbols = append(symbols, string(symbol[1]))
	}
	for _, symbol := range slices.Compact(symbols) {
		// The go command keeps what it has linked to run, so that this is quick unless something has changed.
		output, err := exec.Command("go", "run", "-ldflags", "-s -w -X "+symbol+"="+release, ".", "version").Output()
		if err != nil {
			t.Fatal(err)
		}
		if got, _, _ := strings.Cut(string(output), "\n"); got != "trellis "+release {
			t.Errorf("linked with -X %s=%s, the version is %q", symbol, release, got)
		}
	}
}

const releaseChangelog = `# Changelog

## Unreleased

- Not yet.

## 1.2.3 - 2026-11-28

- New: this.

### Fixed

- That.

## 1.2.30

- A version that begins with another.

## 1.2.2

`

// TestReleaseScript releases a module whose go command writes what it was asked for instead of building it.
func TestReleaseScript(t *testing.T) {
	for _, command := range []string{"git", "bash"} {
		if _, err := exec.LookPath(command); err != nil {
			t.Skip(err)
		}
	}
	script, err := os.ReadFile(".ci/release")
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := os.ReadFile(".gitignore")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(folder, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	run := func(name string, args ...string) (string, error) {
		command := exec.Command(name, args...)
		command.Dir = folder
		command.Env = append(os.Environ(), "GO="+filepath.Join(folder, "go"),
			"GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_SYSTEM="+os.DevNull)
		output, err := command.CombinedOutput()
		return string(output), err
	}
	git := func(args ...string) {
		t.Helper()
		args = append([]string{"-c", "user.name=test", "-c", "user.email=test@localhost"}, args...)
		if output, err := run("git", args...); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, output)
		}
	}
	write(".ci/release", string(script))
	write(".gitignore", string(ignored))
	write("CHANGELOG.md", releaseChangelog)
	write("go.mod", "module trellis\n\ngo 1.26.8\n")
	write("go", `#!/bin/sh
while [ $# -gt 0 ]; do
	case $1 in
	-o) echo "$GOOS $GOARCH $CGO_ENABLED $GOTOOLCHAIN" >"$2" ;;
	*.tar.gz) echo "pages of $SOURCE_DATE_EPOCH" >"$1" ;;
	esac
	shift
done
`)
	git("init", "-q")
	git("add", ".")
	git("commit", "-q", "-m", "test")

	refused := func(version, want string) {
		t.Helper()
		output, err := run(".ci/release", version)
		if err == nil || !strings.Contains(output, want) {
			t.Errorf("a release of %q: %v and %q, want an error with %q", version, err, output, want)
		}
		if left, _ := filepath.Glob(filepath.Join(folder, "dist", "*", "*")); len(left) > 0 {
			t.Errorf("a release of %q that failed has left %v", version, left)
		}
	}
	refused("", "no version: use make release VERSION=1.2.3")
	for _, malformed := range []string{"v1.2.3", "1.2", "1.2.3.4", "01.2.3", "../1.2.3", "1.2.3 -X", "latest"} {
		refused(malformed, "must be like 1.2.3")
	}
	refused("1.2.4", `CHANGELOG.md has no section "## 1.2.4"`)
	refused("1.2.2", `CHANGELOG.md has no section "## 1.2.2", or an empty one`)
	write("new.go", "package main\n")
	refused("1.2.3", "uncommitted changes: commit or remove them first\n?? new.go")
	if err := os.Remove(filepath.Join(folder, "new.go")); err != nil {
		t.Fatal(err)
	}

	write("results/testdata/fuzz/FuzzA/seed", "worth committing\n")
	refused("1.2.3", "uncommitted changes: commit or remove them first\n?? results/")
	if err := os.RemoveAll(filepath.Join(folder, "results")); err != nil {
		t.Fatal(err)
	}

	write("results/testdata/rapid/TestA/TestA-1.fail", "ignored\n")
	if output, err := run(".ci/release", "1.2.3"); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	read := func(path string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(folder, "dist/1.2.3", path))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if got, want := read("NOTES.md"), "- New: this.\n\n### Fixed\n\n- That.\n"; got != want {
		t.Errorf("the notes are %q, want %q", got, want)
	}
	sums := read("SHA256SUMS")
	for _, platform := range []string{"linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64"} {
		file := "trellis-1.2.3-" + platform
		if got, want := read(file), strings.ReplaceAll(platform, "-", " ")+" 0 go1.26.8\n"; got != want {
			t.Errorf("%s was built for %q, want %q", file, got, want)
		}
		if !strings.Contains(sums, "  "+file+"\n") {
			t.Errorf("SHA256SUMS has no %s: %s", file, sums)
		}
	}
	if manual := read("trellis-1.2.3-man.tar.gz"); !regexp.MustCompile(`^pages of \d+\n$`).MatchString(manual) {
		t.Errorf("the manual is %q", manual)
	}
	if got := bytes.Count([]byte(sums), []byte("\n")); got != 5 {
		t.Errorf("SHA256SUMS has %d lines, want 5: %s", got, sums)
	}
	// What a release leaves is ignored: the next one may follow.
	if output, err := run(".ci/release", "1.2.30"); err != nil {
		t.Errorf("another release: %v\n%s", err, output)
	}
}
