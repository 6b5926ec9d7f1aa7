package files

import (
	"fmt"
	"io/fs"
	"os"
)

// Open opens a file for reading that programs could have replaced: it follows no link, does not wait for the writer of a
// pipe, and fails if it is not a regular file.
func Open(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|noWaiting, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: fmt.Errorf("it is %v, not a file", info.Mode().Type())}
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}
