package dataset

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// DefaultMaxBytes is the default maximum size of a data set: all its files together, uncompressed. 1 GiB.
const DefaultMaxBytes = 1 << 30

// Set is a data set on disk whose files have been verified.
type Set struct {
	// Name is the name by which it was requested. It is empty if it was requested by digest.
	Name string
	// Digest identifies the content: see the package documentation.
	Digest string
	// Files are the training images, training labels, test images and test labels. Without labels, there are only the
	// files of images.
	Files []File
	// Height and Width are an image's, in pixels.
	Height, Width int
	// Channels of an image: 1 if it is gray.
	Channels                int
	TrainImages, TestImages int
	// Classes is one more than the largest label, or 0 if there are no labels.
	Classes int
	// Imported is what was noted when the data set was imported. Nil: it was not, but put there as IDX files.
	Imported *Manifest
}

// Digest returns the digest of the data set that has these files.
func Digest(files []File) string {
	var text strings.Builder
	for _, f := range files {
		text.WriteString(f.SHA256 + "\n")
	}
	sum := sha256.Sum256([]byte(text.String()))
	return hex.EncodeToString(sum[:])
}

// Bytes is the size of all files together, uncompressed.
func (s *Set) Bytes() (bytes int64) {
	for _, f := range s.Files {
		bytes += f.Size
	}
	return bytes
}

// newSet describes verified files by their headers and labels.
func newSet(name string, files []File) (*Set, error) {
	headers, err := readHeaders(files)
	if err != nil {
		return nil, err
	}
	set := &Set{
		Name:   name,
		Digest: Digest(files),
		Files:  files,
		Height: headers[0].height, Width: headers[0].width, Channels: headers[0].channels,
		TrainImages: headers[0].count, TestImages: headers[len(files)/2].count,
	}
	for _, f := range files {
		if f.isImages() {
			continue
		}
		labels, err := f.load()
		if err != nil {
			return nil, err
		}
		set.Classes = max(set.Classes, int(slices.Max(labels))+1)
	}
	return set, nil
}

// readHeaders reads the headers of a data set's files, which are four or two, and checks that they agree, and agree
// with the sizes that are known.
func readHeaders(files []File) ([]header, error) {
	headers := make([]header, len(files))
	for i, f := range files {
		var err error
		if headers[i], err = f.header(); err != nil {
			return nil, err
		}
		if want := headers[i].size(); f.Size > 0 && f.Size != want {
			return nil, invalidf("read %s: its header announces %d bytes, it has %d",
				f.place, want, f.Size)
		}
	}
	for i, f := range files {
		if f.isImages() {
			continue
		}
		if images, labels := headers[i-1].count, headers[i].count; images != labels {
			return nil, invalidf("%s has %d images, but %s has %d labels",
				files[i-1].place, images, f.place, labels)
		}
	}
	test := len(files) / 2
	a, b := headers[0], headers[test]
	if a.height != b.height || a.width != b.width {
		return nil, invalidf("images of %s have %d x %d pixels, those of %s have %d x %d",
			files[0].place, a.height, a.width, files[test].place, b.height, b.width)
	}
	if a.channels != b.channels {
		return nil, invalidf("images of %s and %s have %d and %d channels: want equally many",
			files[0].place, files[test].place, a.channels, b.channels)
	}
	return headers, nil
}

func (f File) header() (header, error) {
	content, err := f.place.open()
	if err != nil {
		return header{}, fmt.Errorf("open %s: %w", f.place, err)
	}
	defer content.Close()
	h, err := readHeader(content, f.kind())
	if err != nil {
		return header{}, fmt.Errorf("read %s: %w", f.place, err)
	}
	return h, nil
}

// checkTotal refuses files that are larger together than a cap.
func checkTotal(files []File, limit int64) error {
	left := limit
	for _, f := range files {
		if f.Size > left {
			return fmt.Errorf("%s brings the files beyond %d bytes together, uncompressed: %w", f.Name, limit,
				ErrTooLarge)
		}
		left -= f.Size
	}
	return nil
}

// Open returns the uncompressed content of the file with the SHA-256. The content is verified again as it is read: at
// its end, reading returns ErrInvalid instead of io.EOF if the content has changed.
func (s *Set) Open(sha256 string) (io.ReadCloser, error) {
	i := slices.IndexFunc(s.Files, func(f File) bool { return f.SHA256 == sha256 })
	if i < 0 {
		return nil, fmt.Errorf("open %q: the data set %s has no such file: %w", sha256, s.Digest, ErrUnknown)
	}
	return s.Files[i].open()
}

// Look is what the set's files look like on disk: their sizes and times of change. It is empty if one is not there.
func (s *Set) Look() string {
	var look strings.Builder
	for _, f := range s.Files {
		info, err := os.Stat(string(f.place))
		if err != nil {
			return ""
		}
		fmt.Fprintf(&look, "%q %d %d\n", f.Name, info.Size(), info.ModTime().UnixNano())
	}
	return look.String()
}

// Load reads the data set into memory, and verifies it again.
func (s *Set) Load() (*Data, error) {
	d := &Data{
		Name: s.Name, Digest: s.Digest, Height: s.Height, Width: s.Width, Channels: s.Channels,
		Unlabeled: s.Classes == 0,
	}
	into := [len(FileNames)]*[]byte{&d.Train.Pixels, &d.Train.Labels, &d.Test.Pixels, &d.Test.Labels}
	for _, f := range s.Files {
		content, err := f.load()
		if err != nil {
			return nil, fmt.Errorf("load data set: %w", err)
		}
		*into[f.part()] = content
	}
	if d.Unlabeled {
		d.Train.Labels, d.Test.Labels = make([]byte, s.TrainImages), make([]byte, s.TestImages)
	}
	return d, nil
}

// load returns what follows the header.
func (f File) load() (content []byte, err error) {
	r, err := f.open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	h, err := readHeader(r, f.kind())
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.place, err)
	}
	content = make([]byte, f.Size-h.headerSize())
	if _, err := io.ReadFull(r, content); err != nil {
		return nil, err
	}
	// The content is verified where it ends.
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, err
	}
	return content, nil
}

// checkLengths refuses files that are not as long as their headers announce, as far as that shows without reading them.
func checkLengths(files []File, headers []header) error {
	for i, f := range files {
		length, plain, err := f.place.length()
		if err != nil {
			return err
		}
		if want := headers[i].size(); plain && length != want {
			return invalidf("read %s: its header announces %d bytes, it has %d", f.place, want, length)
		}
	}
	return nil
}
