package output

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"trellis/command/exit"
)

// WriteFile writes what write writes to a file, or to stdout if path is "-". A file is there whole and on disk or, if
// anything fails, as it was before. It returns the size in bytes.
func WriteFile(
	path string, mode os.FileMode, stdout io.Writer, write func(io.Writer) error,
) (size int64, err error) {
	if path == "-" {
		counted := &countingWriter{out: stdout}
		err := write(counted)
		return counted.size, err
	}
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return 0, exit.Usagef("cannot write %s: it is a folder", path)
	case err == nil && !info.Mode().IsRegular():
		return writeDevice(path, write)
	}
	// The temporary file is beside the one that it replaces: elsewhere may be another file system.
	file, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithPermissions(mode))
	if err != nil {
		// What the temporary file would have been called tells nobody anything.
		if problem, ok := errors.AsType[*os.PathError](err); ok {
			err = problem.Err
		}
		return 0, fmt.Errorf("cannot write %s: %w", path, err)
	}
	counted := &countingWriter{out: file}
	if err := write(counted); err != nil {
		return 0, errors.Join(counted.explain(path, err), file.Cleanup())
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return 0, fmt.Errorf("cannot write %s: %w", path, errors.Join(err, file.Cleanup()))
	}
	if err := syncFolder(filepath.Dir(path)); err != nil {
		return 0, fmt.Errorf("cannot write %s: %w", path, err)
	}
	return counted.size, nil
}

// writeDevice writes to what is there and no file: a pipe with a name, for example.
func writeDevice(path string, write func(io.Writer) error) (size int64, err error) {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return 0, fmt.Errorf("cannot write %s: %w", path, err)
	}
	counted := &countingWriter{out: file}
	if err := write(counted); err != nil {
		return 0, errors.Join(counted.explain(path, err), file.Close())
	}
	if err := file.Close(); err != nil {
		return 0, fmt.Errorf("cannot write %s: %w", path, err)
	}
	return counted.size, nil
}

// syncFolder makes the names in a folder durable, which renameio leaves to us.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the folder: %w", err)
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// countingWriter counts what passes through it, in bytes.
type countingWriter struct {
	out  io.Writer
	size int64
	// failed says that out has refused something.
	failed bool
}

func (w *countingWriter) Write(data []byte) (int, error) {
	n, err := w.out.Write(data)
	w.size += int64(n)
	w.failed = w.failed || err != nil
	return n, err
}

// explain says where err, which something that writes here has returned, comes from if it is from here.
func (w *countingWriter) explain(path string, err error) error {
	if w.failed {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return err
}
