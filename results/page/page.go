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
func Files() (files fs.FS, built bool) {
	files, err := fs.Sub(embedded, "embedded")
	if err != nil {
		panic(err) // The folder is embedded above.
	}
	if _, err := fs.Stat(files, "index.html"); err == nil {
		return files, true
	}
	return standIn{files}, false
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
