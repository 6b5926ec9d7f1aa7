package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"trellis/command"
)

// Every command and help topic has a page, with the text of its help.
func TestPages(t *testing.T) {
	pages, err := pages(command.Root())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"trellis.1":               "trellis run examples/quick.yaml",
		"trellis-submit.1":        "\\fB--dry-run\\fP",
		"trellis-model-get.1":     "\\fB--trial\\fP",
		"trellis-configuration.1": "TRELLIS_LOG_LEVEL",
		"trellis-exit-codes.1":    "130  interrupted",
	} {
		if !strings.Contains(string(pages[name]), want) {
			t.Errorf("no %q in %s:\n%s", want, name, pages[name])
		}
	}
	for _, stray := range []string{"trellis-model-help.1", "trellis-cluster-help.1"} {
		if pages[stray] != nil {
			t.Errorf("there is a page %s", stray)
		}
	}
}

// Formatted, nothing of the help is lost to Markdown, and columns stay columns.
func TestPagesAreReadable(t *testing.T) {
	if _, err := exec.LookPath("nroff"); err != nil {
		t.Skip("there is no nroff here")
	}
	folder := t.TempDir()
	if err := write([]string{folder}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ page, want string }{
		{"trellis-configuration.1", "      2. the variable:           export TRELLIS_COORDINATOR=host:7070\n"},
		{"trellis-exit-codes.1", "   130  interrupted, for example by Ctrl-C"},
	} {
		text, err := exec.Command("nroff", "-man", "-Tascii", filepath.Join(folder, test.page)).Output()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), test.want) {
			t.Errorf("no %q in\n%s", test.want, text)
		}
	}
}
