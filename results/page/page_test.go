package page

import (
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

func TestStandIn(t *testing.T) {
	files := standIn{fstest.MapFS{unbuilt: {Data: []byte("none")}}}
	if entry, err := fs.ReadFile(files, "index.html"); err != nil || string(entry) != "none" {
		t.Errorf("got %q, %v", entry, err)
	}
}
