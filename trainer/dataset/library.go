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

// Library finds data sets by name. It is safe for concurrent use.
type Library struct {
	// Dir has a folder for each data set, with the data set's name. Empty: only MNIST is available.
	Dir string
	// CacheDir is where downloads are stored. Empty: only the go command downloads.
	CacheDir string
	// Mirrors are addresses to which the name of one of MNIST's files is appended. Nil: DefaultMirrors.
	Mirrors []string
	// Client is used to download from the mirrors. Nil: http.DefaultClient.
	Client *http.Client
	// MaxBytes is the maximum size of a data set, uncompressed. 0: DefaultMaxBytes.
	MaxBytes int64
	// Warn hears of what does not keep an import from going on. Nil: nobody does.
	Warn func(error)
}

// names of data sets are names of folders, never paths.
var names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$`)

// Find returns a data set by name, after reading and verifying all of it.
//
// "mnist" comes from the Go module cache, from Dir, from CacheDir, from the Go module proxy or from the mirrors,
// whichever has it first. Any other data set is a folder in Dir. If there is none, Find returns ErrUnknown with a list
// of the available data sets. If the files are wrong, it returns ErrInvalid or ErrTooLarge.
func (l *Library) Find(ctx context.Context, name string) (*Set, error) {
	return l.find(ctx, name, l.findMNIST)
}

// FindLocal is Find that downloads nothing: ErrNotDownloaded if MNIST would have to be.
func (l *Library) FindLocal(ctx context.Context, name string) (*Set, error) {
	return l.find(ctx, name, l.localMNIST)
}

func (l *Library) find(
	ctx context.Context, name string, mnist func(context.Context) (*Set, error),
) (*Set, error) {
	if !names.MatchString(name) {
		return nil, fmt.Errorf("%w %q: a name consists of letters, digits, dots, hyphens and underscores, and starts with "+
			"a letter or a digit", ErrUnknown, name)
	}
	var set *Set
	var err error
	if name == MNIST {
		set, err = mnist(ctx)
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
	folder := filepath.Join(l.Dir, name)
	if !l.hasFolder(name) {
		return nil, l.unknown()
	}
	manifest, files, err := locateImported(folder)
	if err != nil {
		return nil, err
	}
	if manifest != nil {
		return l.verifyImported(name, manifest, files)
	}
	if files, err = locateNamed(folder); err != nil {
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

// unknown is ErrUnknown with what there is instead, and why other folders can't be used.
func (l *Library) unknown() error {
	folders, err := l.Available()
	if err != nil {
		return err
	}
	var usable, broken []string
	for _, folder := range folders {
		switch {
		case folder.Err == nil:
			usable = append(usable, folder.Name)
		case len(broken) < maxBroken:
			broken = append(broken, fmt.Sprintf("%s can't be used: %v", folder.Name, folder.Err))
		}
	}
	text := "there is " + strings.Join(usable, ", ")
	if broken != nil {
		text += "; " + strings.Join(broken, "; ")
	}
	if l.Dir != "" {
		if _, err := locateNamed(l.Dir); err == nil {
			text += fmt.Sprintf("; the files in %s itself have no name: move them into a folder in it", l.Dir)
		}
	}
	return fmt.Errorf("%w: %s", ErrUnknown, text)
}

// maxBroken is how many folders that can't be used an error names.
const maxBroken = 10

// verifyImported reads all of a data set that was imported.
func (l *Library) verifyImported(name string, manifest *Manifest, files []File) (*Set, error) {
	if err := checkTotal(files, cmp.Or(l.MaxBytes, DefaultMaxBytes)); err != nil {
		return nil, err
	}
	set, err := verify(name, files)
	if err != nil {
		return nil, err
	}
	set.Imported = manifest
	return set, nil
}

// Folder is a folder of a data set.
type Folder struct {
	Name string
	// Imported is what was noted on import. Nil: the folder has IDX files that were put there.
	Imported *Manifest
	// Err says why its files can't be used. It is nil if nothing is wrong with their names, headers and lengths. The length
	// of what is gzipped is not known before all of it is read.
	Err error
}

// Available returns the data sets that Find can return, and the folders that can't be used, by name.
func (l *Library) Available() ([]Folder, error) {
	available := []Folder{{Name: MNIST}}
	if l.Dir == "" {
		return available, nil
	}
	entries, err := os.ReadDir(l.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list data sets: %w", err)
	}
	for _, entry := range entries {
		if entry.Name() == MNIST || !names.MatchString(entry.Name()) || !l.hasFolder(entry.Name()) {
			continue
		}
		available = append(available, l.look(entry.Name()))
	}
	slices.SortFunc(available, func(a, b Folder) int { return cmp.Compare(a.Name, b.Name) })
	return available, nil
}

// look looks at a folder's files, as far as it costs nothing.
func (l *Library) look(name string) Folder {
	folder := filepath.Join(l.Dir, name)
	manifest, files, err := locateImported(folder)
	if err == nil && manifest == nil {
		files, err = locateNamed(folder)
	}
	if err == nil {
		var headers []header
		if headers, err = readHeaders(files); err == nil {
			err = checkLengths(files, headers)
		}
	}
	return Folder{name, manifest, err}
}

// namedFiles are files of which only the names are known.
func namedFiles(names ...string) []File {
	files := make([]File, len(names))
	for i, name := range names {
		files[i].Name = name
	}
	return files
}

// locateNamed returns the files of the data set in a folder: all four, or without labels those of images.
func locateNamed(folder string) ([]File, error) {
	colored := false
	if _, err := locateFile(folder, fileNames(false, false)[0]); errors.Is(err, fs.ErrNotExist) {
		_, err := locateFile(folder, fileNames(true, false)[0])
		colored = err == nil
	}
	all := fileNames(colored, true)
	files, err := locate(folder, namedFiles(all...))
	if !errors.Is(err, fs.ErrNotExist) {
		return files, err
	}
	// A file that can't be used says more than one that is missing.
	for _, name := range all {
		if file, missing := locate(folder, namedFiles(name)); missing == nil {
			if _, err := file[0].header(); err != nil {
				return nil, err
			}
		}
	}
	images, missing := locate(folder, namedFiles(fileNames(colored, false)...))
	if missing != nil {
		return nil, missing
	}
	_, noTrainLabels := locate(folder, namedFiles(all[1]))
	_, noTestLabels := locate(folder, namedFiles(all[3]))
	if errors.Is(noTrainLabels, fs.ErrNotExist) && errors.Is(noTestLabels, fs.ErrNotExist) {
		return images, nil
	}
	// One file of labels without the other is a mistake.
	return nil, err
}

// locate returns the files with their places in a folder. fs.ErrNotExist if one is missing.
func locate(folder string, files []File) ([]File, error) {
	located := slices.Clone(files)
	for i, f := range located {
		path, err := locateFile(folder, f.Name)
		if err != nil {
			return nil, err
		}
		located[i].place = place(path)
	}
	return located, nil
}

// locateFile returns the path of a file under one of the names that it goes by: with a dot in place of the hyphen before
// "idx", as in archives of MNIST, and with .gz behind it.
func locateFile(folder, name string) (string, error) {
	dotted := strings.Replace(name, "-idx", ".idx", 1)
	for _, candidate := range []string{name, name + ".gz", dotted, dotted + ".gz"} {
		path := filepath.Join(folder, candidate)
		_, err := os.Stat(path)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("look for %s in %s: %w", name, folder, err)
		}
		// A link that leads nowhere is there, and tells more than a file that is not.
		if _, link := os.Lstat(path); link == nil {
			return "", invalidf("%s is a link that leads nowhere", path)
		}
	}
	return "", invalidf("neither %s nor %s, with or without .gz, is in %s: %w",
		name, dotted, folder, fs.ErrNotExist)
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
