package supervisor

import (
	"io/fs"
	"os"
	"path/filepath"
)

// RemoveAll removes a folder with everything in it, also what its owner may not write to.
func RemoveAll(folder string) error {
	err := os.RemoveAll(folder)
	if err == nil {
		return nil
	}
	// WalkDir opens a folder after it was made accessible here.
	_ = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(folder)
}
