package page

import (
	"embed"
	"io/fs"
)

// unbuilt stands in the place of the page in a binary that was built without it.
const unbuilt = "unbuilt.html"

//go:embed embedded
var embedded embed.FS

// Files returns the page's files and whether the page was built. Its entry is index.html: without a build, a document that says
// how to build it.
func Files() (files fs.FS, isBuilt bool) {
	files, err := fs.Sub(embedded, "embedded")
	if err != nil {
		panic(err) // The folder is embedded above.
	}
	if _, err := fs.Stat(files, "index.html"); err == nil {
		return built{files}, true
	}
	return standIn{files}, false
}

// built serves a page that was built: nothing says that there is none.
type built struct{ fs.FS }

// Open implements fs.FS.
func (b built) Open(name string) (fs.File, error) {
	if name == unbuilt {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return b.FS.Open(name)
}

// standIn serves unbuilt.html as index.html.
type standIn struct{ fs.FS }

// Open implements fs.FS.
func (s standIn) Open(name string) (fs.File, error) {
	if name == "index.html" {
		name = unbuilt
	}
	return s.FS.Open(name)
}
