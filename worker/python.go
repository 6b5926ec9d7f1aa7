package worker

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"trellis/python"
	"trellis/worker/files"
)

// pythonFolder is where the Python package is, within the worker's cache. Each version of it has a folder there.
const pythonFolder = "python"

// UnpackPython returns the absolute path of a folder with the Python package, for PYTHONPATH. It is unpacked if it is not
// there as it should be: programs can write there. Several workers may share a cache.
func UnpackPython(cacheDir string) (string, error) {
	files := python.Files()
	digest, err := digestOfFiles(files)
	if err != nil {
		return "", fmt.Errorf("read the Python package: %w", err)
	}
	// Programs run in other folders than the worker.
	parent, err := filepath.Abs(filepath.Join(cacheDir, pythonFolder))
	if err != nil {
		return "", fmt.Errorf("unpack the Python package: %w", err)
	}
	folder := filepath.Join(parent, digest)
	if hasFiles(folder, files) {
		return folder, nil
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", fmt.Errorf("unpack the Python package: %w", err)
	}
	temporary, err := os.MkdirTemp(parent, ".download-")
	if err != nil {
		return "", fmt.Errorf("unpack the Python package: %w", err)
	}
	defer os.RemoveAll(temporary)
	unpacked := filepath.Join(temporary, "new")
	if err := os.CopyFS(unpacked, files); err != nil {
		return "", fmt.Errorf("unpack the Python package: %w", err)
	}
	// What is there has been changed or removed in part, or another worker has put it right meanwhile.
	if hasFiles(folder, files) {
		return folder, nil
	}
	if err := os.Rename(folder, filepath.Join(temporary, "old")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("unpack the Python package: %w", err)
	}
	if err := os.Rename(unpacked, folder); err != nil && !hasFiles(folder, files) {
		return "", fmt.Errorf("unpack the Python package: %w", err)
	}
	return folder, nil
}

// digestOfFiles returns the beginning of a digest of names and contents.
func digestOfFiles(files fs.FS) (string, error) {
	hash := sha256.New()
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(files, name)
		fmt.Fprintf(hash, "%s %d\n%s", name, len(content), content)
		return err
	})
	return hex.EncodeToString(hash.Sum(nil)[:8]), err
}

// hasFiles says whether a folder has all files as they are. It may have more: Python keeps what it has compiled beside them.
func hasFiles(folder string, all fs.FS) bool {
	err := fs.WalkDir(all, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		want, err := fs.ReadFile(all, name)
		if err != nil {
			return err
		}
		file, err := files.Open(filepath.Join(folder, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		defer file.Close()
		got, err := io.ReadAll(io.LimitReader(file, int64(len(want))+1))
		if err == nil && !bytes.Equal(got, want) {
			err = errors.New("changed")
		}
		return err
	})
	return err == nil
}
