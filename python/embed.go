package python

import (
	"embed"
	"io/fs"
)

// The files are named one kind at a time: a folder as a whole would bring __pycache__ and leave out names with _.
//
//go:embed trellis/*.py trellis/py.typed
var files embed.FS

// Files returns what belongs into a folder on PYTHONPATH: the folder trellis.
func Files() fs.FS { return files }
