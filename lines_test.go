package main

import (
	"bytes"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// maxColumns is how wide a line of Go may be. A tab counts as tabColumns.
const maxColumns, tabColumns = 120, 4

// stillWide are the rooms and files that have wider lines from before there was this test. What is missing here stays
// narrow.
var stillWide = []string{
	"command/", "coordinator/", "results/", "worker/", "trainer/dataset/",
	"dial_test.go", "imports_test.go",
}

// generated is the line by which generators of Go code say that they have written a file.
var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

// Lines fit beside one another on a screen.
func TestLinesAreNarrow(t *testing.T) {
	files := 0
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		case entry.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil || generated.Match(text) {
			return err
		}
		files++
		if slices.ContainsFunc(stillWide, func(begin string) bool { return strings.HasPrefix(name, begin) }) {
			return nil
		}
		for i, line := range bytes.Split(text, []byte("\n")) {
			if columns := utf8.RuneCount(line) + (tabColumns-1)*bytes.Count(line, []byte("\t")); columns > maxColumns {
				t.Errorf("%s:%d has %d columns, want %d at most", name, i+1, columns, maxColumns)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Errorf("found %d files", files)
	}
}
