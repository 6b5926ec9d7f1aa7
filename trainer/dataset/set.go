package dataset

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// DefaultMaxBytes is how large a data set may be: its four files together, uncompressed. 1 GiB.
const DefaultMaxBytes = 1 << 30

// Set is a data set on disk whose files have been verified.
type Set struct {
	// Name is what it was asked for by; empty if that was its digest.
	Name string
	// Digest identifies the content: see the package's documentation.
	Digest string
	// Files are the training images, training labels, test images and test labels.
	Files []File
	// Height and Width are an image's, in pixels.
	Height, Width           int
	TrainImages, TestImages int
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

// newSet describes verified files by their headers.
func newSet(name string, files []File) (*Set, error) {
	headers, err := readHeaders(files)
	if err != nil {
		return nil, err
	}
	return &Set{
		Name:   name,
		Digest: Digest(files),
		Files:  files,
		Height: headers[0].height, Width: headers[0].width,
		TrainImages: headers[0].count, TestImages: headers[2].count,
	}, nil
}

// readHeaders reads the headers of a data set's files and checks that they agree, and agree with the sizes that are
// known.
func readHeaders(files []File) (headers [4]header, err error) {
	for i, f := range files {
		if headers[i], err = f.header(i%2 == 0); err != nil {
			return headers, err
		}
		if want := headers[i].size(); f.Size > 0 && f.Size != want {
			return headers, fmt.Errorf("read %s: its header announces %d bytes, it has %d: %w",
				f.place, want, f.Size, ErrInvalid)
		}
	}
	for i := 0; i < len(headers); i += 2 {
		if images, labels := headers[i].count, headers[i+1].count; images != labels {
			return headers, fmt.Errorf("%s has %d images, but %s has %d labels: %w",
				files[i].place, images, files[i+1].place, labels, ErrInvalid)
		}
	}
	if train, test := headers[0], headers[2]; train.height != test.height || train.width != test.width {
		return headers, fmt.Errorf("images of %s have %d x %d pixels, those of %s have %d x %d: %w",
			files[0].place, train.height, train.width, files[2].place, test.height, test.width, ErrInvalid)
	}
	return headers, nil
}

func (f File) header(images bool) (header, error) {
	content, err := f.place.open()
	if err != nil {
		return header{}, fmt.Errorf("open %s: %w", f.place, err)
	}
	defer content.Close()
	h, err := readHeader(content, images)
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
			return fmt.Errorf("%s brings the files beyond %d bytes together, uncompressed: %w", f.Name, limit, ErrTooLarge)
		}
		left -= f.Size
	}
	return nil
}

// Open returns the uncompressed content of the file with that SHA-256. It is verified again as it is read: where it
// ends, reading returns ErrInvalid instead of io.EOF if it is not the right content any more.
func (s *Set) Open(sha256 string) (io.ReadCloser, error) {
	i := slices.IndexFunc(s.Files, func(f File) bool { return f.SHA256 == sha256 })
	if i < 0 {
		return nil, fmt.Errorf("open %q: the data set %s has no such file: %w", sha256, s.Digest, ErrUnknown)
	}
	return s.Files[i].open()
}

// Load reads the data set into memory, and verifies it again.
func (s *Set) Load() (*Data, error) {
	d := &Data{Name: s.Name, Digest: s.Digest, Height: s.Height, Width: s.Width}
	for i, into := range []*[]byte{&d.Train.Pixels, &d.Train.Labels, &d.Test.Pixels, &d.Test.Labels} {
		content, err := s.Files[i].load(i%2 == 0)
		if err != nil {
			return nil, fmt.Errorf("load data set: %w", err)
		}
		*into = content
	}
	return d, nil
}

// load returns what follows the header.
func (f File) load(images bool) (content []byte, err error) {
	r, err := f.open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	h, err := readHeader(r, images)
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
