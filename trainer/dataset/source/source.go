package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"trellis/trainer/dataset"
)

// Options say what is done with pictures.
type Options struct {
	// Channels is 1, 3 or 4. 0: 1 if all pictures are gray, else 3.
	Channels int
	// SkipUnfit leaves pictures out that can't be read or have another size, instead of ending with an error.
	SkipUnfit bool
}

// ErrUnfit means that pictures can't be read, or do not go together. SkipUnfit leaves them out: others are left.
var ErrUnfit = errors.New("pictures can't be imported")

// Open looks at a file or folder and returns the set of images in it, unread. It returns an error of ErrInvalid if it is
// none, which says what would be right, and the cause of a context that is done.
func Open(ctx context.Context, path string, options Options) (*dataset.Source, error) {
	info, err := os.Stat(path)
	if err != nil {
		if problem, ok := errors.AsType[*fs.PathError](err); ok {
			err = problem.Err
		}
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	open := openFile
	if info.IsDir() {
		open = openFolder
	} else if !info.Mode().IsRegular() {
		return nil, dataset.Invalidf("%s is neither a folder nor a regular file", path)
	}
	source, err := open(ctx, path, options)
	if err != nil {
		return nil, err
	}
	if want := options.Channels; want > 0 && want != source.Channels {
		return nil, dataset.Invalidf("the images of %s have %s: only those of pictures can be changed, to %d",
			path, channels(source.Channels), want)
	}
	return source, nil
}

// openFile opens a file that has all images.
func openFile(_ context.Context, path string, _ Options) (*dataset.Source, error) {
	start, err := readStart(path)
	if err != nil {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(start, []byte(npyMagic)):
		return openArrays(path, []arrayFile{diskArray{path, "x"}})
	case bytes.HasPrefix(start, []byte("PK\x03\x04")) && strings.EqualFold(filepath.Ext(path), ".npz"):
		return openArchive(path)
	}
	return nil, dataset.Invalidf("%s is %s", path, describe(path, start))
}

// describe says what a file is that can't be imported by itself, and what would be right.
func describe(path string, start []byte) string {
	const want = "want a folder, a NumPy array (.npy) or archive (.npz)"
	for _, format := range []struct{ start, description string }{
		{"PK\x03\x04", "a zip archive: unpack it, and name the folder"},
		{"\x1f\x8b", "gzipped: unpack it, and name the folder"},
		{"\x00\x00\x08", "an IDX file: name the folder, which has the images and labels of both parts"},
		{"\x89PNG", "one picture: name the folder of all"},
		{"\xff\xd8\xff", "one picture: name the folder of all"},
		{"\x80", "a Python pickle, which can run code: " + want},
	} {
		if bytes.HasPrefix(start, []byte(format.start)) {
			return format.description
		}
	}
	if strings.HasSuffix(path, ".bin") {
		return "one file of several: name the folder"
	}
	return "of no known format: " + want
}

// readStart reads what a file begins with.
func readStart(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	start := make([]byte, 16)
	n, err := io.ReadFull(file, start)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if n == 0 {
		return nil, dataset.Invalidf("%s is empty", path)
	}
	return start[:n], nil
}

// openFolder opens a folder by what is in it.
func openFolder(ctx context.Context, path string, options Options) (*dataset.Source, error) {
	if dataset.HasIDX(path) {
		return dataset.OpenIDX(path)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var arrays []arrayFile
	cifar := false
	for _, entry := range entries {
		name := entry.Name()
		if strings.EqualFold(filepath.Ext(name), ".npy") {
			arrays = append(arrays, diskArray{filepath.Join(path, name), strings.TrimSuffix(name, filepath.Ext(name))})
		}
		cifar = cifar || strings.HasPrefix(name, cifarPrefix)
	}
	switch {
	case arrays != nil:
		return openArrays(path, arrays)
	case cifar:
		return openCIFAR(path)
	}
	return openPictures(ctx, path, options)
}

// exists says whether there is a file.
func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// checkSides refuses images that no data set can have.
func checkSides(path string, height, width int) error {
	if min(height, width) < 1 || max(height, width) > dataset.MaxSide {
		return dataset.Invalidf("%s has images of %d x %d pixels; a side has 1 to %d", path, height, width, dataset.MaxSide)
	}
	return nil
}

// endOf checks that a file ends here, where its checksum is verified if it has one.
func endOf(path string, r io.Reader) error {
	n, err := io.CopyN(io.Discard, r, 1)
	if n > 0 {
		return dataset.Invalidf("read %s: it is longer than it says", path)
	}
	if !errors.Is(err, io.EOF) {
		return readError(path, 0, err)
	}
	return nil
}

// readError is the error of a file that can't be read further than its image of this number.
func readError(path string, number int, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return dataset.Invalidf("read %s: it ends within image %d", path, number+1)
	}
	return fmt.Errorf("read %s: %w", path, err)
}

// channels is a number of channels in words.
func channels(n int) string {
	if n == 1 {
		return "1 channel"
	}
	return fmt.Sprintf("%d channels", n)
}
