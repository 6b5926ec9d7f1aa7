package output

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"trellis/command/exit"
)

// WriteFolder makes a folder of what write writes to the one that it is given. It is there whole or, if anything fails,
// as it was before: not there, or empty. A folder with something in it is refused. A link to a folder stays.
//
// A folder that is there may be a mount point, or be in one that can't be written: then all is written inside, and moved to
// its place at the end.
func WriteFolder(path string, write func(folder string) error) (err error) {
	there, err := CheckFolder(path)
	if err != nil {
		return err
	}
	path, err = filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	parent := filepath.Dir(path)
	if there {
		parent = path
	}
	if err := os.MkdirAll(parent, 0o777); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	// The temporary folder is where the folder is to be: elsewhere may be another file system.
	temporary := filepath.Join(parent, fmt.Sprintf(".%s-%08x", filepath.Base(path), rand.Uint32()))
	if err := os.Mkdir(temporary, 0o777); err != nil {
		if problem, ok := errors.AsType[*os.PathError](err); ok {
			err = problem.Err
		}
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	defer func() {
		if err != nil || there {
			err = errors.Join(err, os.RemoveAll(temporary))
		}
	}()
	if err := write(temporary); err != nil {
		return err
	}
	if there {
		err = moveUp(path, temporary)
	} else {
		err = os.Rename(temporary, path)
	}
	if err == nil {
		err = syncFolder(parent)
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}

// moveUp moves everything from a temporary folder to the one that it is in, where nothing else is, or nothing.
func moveUp(path, temporary string) (err error) {
	entries, err := contents(path)
	if err != nil {
		return err
	}
	if len(entries) != 1 {
		return errors.New("something else was written to it meanwhile")
	}
	entries, err = os.ReadDir(temporary)
	if err != nil {
		return err
	}
	for i, entry := range entries {
		if err := os.Rename(filepath.Join(temporary, entry.Name()), filepath.Join(path, entry.Name())); err != nil {
			for _, moved := range entries[:i] {
				err = errors.Join(err, os.RemoveAll(filepath.Join(path, moved.Name())))
			}
			return err
		}
	}
	return nil
}

// CheckFolder says whether a folder is there, and refuses one that can't be written: it is a file, or not empty.
func CheckFolder(path string) (there bool, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Lstat(path); err == nil {
			return false, exit.Usagef("cannot write %s: it is a link to what is not there", path)
		}
		return false, nil
	case err != nil:
		return false, exit.Usagef("cannot write %s: %w", path, err)
	case !info.IsDir():
		return false, exit.Usagef("cannot write %s: it is a file", path)
	}
	entries, err := contents(path)
	if err != nil {
		return false, exit.Usagef("cannot read the folder %s: %w", path, err)
	}
	if len(entries) > 0 {
		return false, exit.Usagef("the folder %s is not empty, it has %s: choose another with --folder", path,
			OneLine(entries[0].Name()))
	}
	return true, nil
}

// contents returns what a folder has, without what every new file system of some kinds has.
func contents(path string) ([]os.DirEntry, error) {
	entries, err := os.ReadDir(path)
	return slices.DeleteFunc(entries, func(entry os.DirEntry) bool { return entry.Name() == "lost+found" }), err
}
