package dataset

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Library finds data sets by name. It may be used by several goroutines.
type Library struct {
	// Dir holds a folder for each data set, named like it. Empty: there is only MNIST.
	Dir string
	// CacheDir keeps what is downloaded. Empty: only the go command downloads.
	CacheDir string
	// Mirrors are addresses to which the name of one of MNIST's files is appended. Nil: DefaultMirrors.
	Mirrors []string
	// Client asks the mirrors. Nil: http.DefaultClient.
	Client *http.Client
	// MaxBytes is how large a data set may be, uncompressed. 0: DefaultMaxBytes.
	MaxBytes int64
}

// names of data sets are names of folders, never paths.
var names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$`)

// Find returns a data set by name, having read and verified all of it.
//
// "mnist" comes from the Go module cache, from Dir, from CacheDir, from the Go module proxy or from the mirrors,
// whichever has it first. Any other data set is a folder in Dir. ErrUnknown, with a list of what there is, if it is not
// there; ErrInvalid or ErrTooLarge if its files are not as they should be.
func (l *Library) Find(ctx context.Context, name string) (*Set, error) {
	if !names.MatchString(name) {
		return nil, fmt.Errorf("%w %q: a name consists of letters, digits, dots, hyphens and underscores, and starts with "+
			"a letter or a digit", ErrUnknown, name)
	}
	var set *Set
	var err error
	if name == MNIST {
		set, err = l.findMNIST(ctx)
	} else {
		set, err = l.findFolder(name)
	}
	if err != nil {
		return nil, fmt.Errorf("find data set %s: %w", name, err)
	}
	return set, nil
}

// findFolder finds the data set in a folder of Dir.
func (l *Library) findFolder(name string) (*Set, error) {
	if !l.hasFolder(name) {
		available, err := l.Available()
		if err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w: there is %s", ErrUnknown, strings.Join(available, ", "))
	}
	files, err := locate(l.Dir, name, namedFiles())
	if err != nil {
		return nil, err
	}
	headers, err := readHeaders(files)
	if err != nil {
		return nil, err
	}
	for i := range files {
		files[i].Size = headers[i].size()
	}
	if err := checkTotal(files, cmp.Or(l.MaxBytes, DefaultMaxBytes)); err != nil {
		return nil, err
	}
	for i := range files {
		if err := files[i].identify(); err != nil {
			return nil, err
		}
	}
	return newSet(name, files)
}

func (l *Library) hasFolder(name string) bool {
	if l.Dir == "" {
		return false
	}
	info, err := os.Stat(filepath.Join(l.Dir, name))
	return err == nil && info.IsDir()
}

// Available returns the names that Find can be asked for, sorted.
func (l *Library) Available() ([]string, error) {
	available := []string{MNIST}
	if l.Dir == "" {
		return available, nil
	}
	entries, err := os.ReadDir(l.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list data sets: %w", err)
	}
	for _, entry := range entries {
		if entry.Name() == MNIST || !names.MatchString(entry.Name()) {
			continue
		}
		if _, err := locate(l.Dir, entry.Name(), namedFiles()); err == nil {
			available = append(available, entry.Name())
		}
	}
	slices.Sort(available)
	return available, nil
}

// namedFiles are files of which only the names are known.
func namedFiles() []File {
	files := make([]File, len(FileNames))
	for i, name := range FileNames {
		files[i].Name = name
	}
	return files
}

// locate returns the files with their places in a folder below root, where each is either plain or gzipped.
// fs.ErrNotExist if one is missing.
func locate(root, folder string, files []File) ([]File, error) {
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	located := slices.Clone(files)
	for i, f := range located {
		path := filepath.Join(folder, f.Name)
		_, err := dir.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			path += ".gz"
			_, err = dir.Stat(path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("neither %s nor %s.gz is in %s: %w: %w",
				f.Name, f.Name, filepath.Join(root, folder), fs.ErrNotExist, ErrInvalid)
		}
		if err != nil {
			return nil, fmt.Errorf("look for %s in %s: %w", f.Name, filepath.Join(root, folder), err)
		}
		located[i].place = place{root: root, path: path}
	}
	return located, nil
}

// verify reads all of files whose sizes and digests are known, and describes them.
func verify(name string, files []File) (*Set, error) {
	for _, f := range files {
		if err := f.verify(); err != nil {
			return nil, err
		}
	}
	return newSet(name, files)
}
