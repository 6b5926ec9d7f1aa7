package output

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"trellis/command/exit"
)

// WriteFolder makes a folder of what write writes to the one that it is given. It is there whole or, if anything fails,
// as it was before: not there, or empty. A folder with something in it is refused.
func WriteFolder(path string, write func(folder string) error) (err error) {
	before, err := CheckFolder(path)
	if err != nil {
		return err
	}
	path, err = filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	parent := filepath.Dir(path)
	if err := os.MkdirAll(parent, 0o777); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	// The temporary folder is beside the one that it becomes: elsewhere may be another file system.
	temporary := filepath.Join(parent, fmt.Sprintf(".%s-%08x", filepath.Base(path), rand.Uint32()))
	if err := os.Mkdir(temporary, 0o777); err != nil {
		if problem, ok := errors.AsType[*os.PathError](err); ok {
			err = problem.Err
		}
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temporary))
		}
	}()
	if err := write(temporary); err != nil {
		return err
	}
	if before {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot write %s: something else was written to it meanwhile: %w", path, err)
		}
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	if err := syncFolder(parent); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}

// CheckFolder says whether a folder is there, and refuses one that can't be written: it is a file, or not empty.
func CheckFolder(path string) (there bool, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, exit.Usagef("cannot write %s: %w", path, err)
	case !info.IsDir():
		return false, exit.Usagef("cannot write %s: it is a file", path)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return false, exit.Usagef("cannot read the folder %s: %w", path, err)
	}
	if len(entries) > 0 {
		return false, exit.Usagef("the folder %s is not empty: choose another with --folder", path)
	}
	return true, nil
}
