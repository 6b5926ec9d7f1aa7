package page

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

// There is an entry also in a binary without the page, which says what to do.
func TestFilesHaveAnEntry(t *testing.T) {
	files, built := Files()
	entry, err := fs.ReadFile(files, "index.html")
	if err != nil {
		t.Fatal(err)
	}
	if says := strings.Contains(string(entry), "has no page"); says == built {
		t.Errorf("built: %t, and it says that there is no page: %t", built, says)
	}
}

// What stands in the place of a page is no part of one.
func TestBuilt(t *testing.T) {
	files := built{fstest.MapFS{unbuilt: {Data: []byte("none")}, "index.html": {Data: []byte("the page")}}}
	if _, err := fs.Stat(files, unbuilt); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a page that was built has %s: %v", unbuilt, err)
	}
	if entry, err := fs.ReadFile(files, "index.html"); err != nil || string(entry) != "the page" {
		t.Errorf("got %q, %v", entry, err)
	}
}

func TestStandIn(t *testing.T) {
	files := standIn{fstest.MapFS{unbuilt: {Data: []byte("none")}}}
	if entry, err := fs.ReadFile(files, "index.html"); err != nil || string(entry) != "none" {
		t.Errorf("got %q, %v", entry, err)
	}
}
