package dataset

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// Source is a set of images as people keep it, that can be read once, image by image.
type Source struct {
	Format Format
	// Height and Width are an image's, in pixels.
	Height, Width, Channels int
	Labeled                 bool
	// Classes are the names of the labels, from 0. Nil: they have none.
	Classes []string
	// Test is nil if the source does not say which images are for testing.
	Train, Test Part
	// LeftOut grows while the parts are read.
	LeftOut LeftOut
}

// Part reads the images of a part in their order, and ends with the error of yield. The pixels are valid until yield
// returns: channel by channel, row by row. The label is 0 if there are none.
type Part func(yield func(pixels []byte, label byte) error) error

// Reason is why a file was left out.
type Reason string

// The reasons.
const (
	// Hidden files are those of file managers and version control.
	Hidden Reason = "hidden"
	// NotAnImage is a file whose name does not end like that of an image.
	NotAnImage Reason = "not_an_image"
	// NoClass is an image beside the folders of classes.
	NoClass Reason = "no_class"
	// OtherFolder is a folder without images beside those of the parts.
	OtherFolder Reason = "other_folder"
	// LinkedFolder is a link to a folder, where it is not that of a class.
	LinkedFolder Reason = "linked_folder"
	// Unfit is an image that can't be read, or that the others don't go with.
	Unfit Reason = "unfit"
	// UnknownArray is an array whose name says nothing.
	UnknownArray Reason = "unknown_array"
)

// LeftOut is what was not imported.
type LeftOut struct {
	Counts map[Reason]int `json:"counts,omitempty"`
	// Examples are the first of them.
	Examples []LeftOutFile `json:"examples,omitempty"`
}

// LeftOutFile is a file that was not imported.
type LeftOutFile struct {
	Path   string `json:"path"`
	Reason Reason `json:"reason"`
	// Error says what is wrong with a file that is Unfit.
	Error string `json:"error,omitempty"`
}

// maxExamples is how many files that were left out are named.
const maxExamples = 20

// Add notes a file. err is nil unless the reason is Unfit.
func (l *LeftOut) Add(path string, reason Reason, err error) {
	if l.Counts == nil {
		l.Counts = make(map[Reason]int)
	}
	l.Counts[reason]++
	if len(l.Examples) < maxExamples {
		file := LeftOutFile{Path: path, Reason: reason}
		if err != nil {
			file.Error = err.Error()
		}
		l.Examples = append(l.Examples, file)
	}
}

// OpenIDX returns the source that is a folder of IDX files under the names of a data set's. It returns ErrInvalid if it
// is not.
func OpenIDX(folder string) (*Source, error) {
	files, err := locateNamed(folder)
	if err != nil {
		return nil, err
	}
	headers, err := readHeaders(files)
	if err != nil {
		return nil, err
	}
	if err := checkLengths(files, headers); err != nil {
		return nil, err
	}
	source := &Source{
		Format: IDX, Height: headers[0].height, Width: headers[0].width, Channels: headers[0].channels,
		Labeled: len(files) > 2,
	}
	source.Train, source.Test = parts(files, headers, func(f File) (io.ReadCloser, error) { return f.place.open() })
	return source, nil
}

// HasIDX says whether a folder has the images of a data set's training part under the name that they have as IDX file.
func HasIDX(folder string) bool {
	for _, colored := range []bool{false, true} {
		if _, err := locateFile(folder, fileNames(colored, false)[0]); err == nil {
			return true
		}
	}
	return false
}

// Read reads the images of a set, verified: see Part.
func (s *Set) Read() (train, test Part, err error) {
	headers, err := readHeaders(s.Files)
	if err != nil {
		return nil, nil, err
	}
	train, test = parts(s.Files, headers, File.open)
	return train, test, nil
}

// parts are the two parts of a data set's files.
func parts(files []File, headers []header, open func(File) (io.ReadCloser, error)) (train, test Part) {
	half := len(files) / 2
	return readFiles(files[:half], headers[:half], open), readFiles(files[half:], headers[half:], open)
}

// readFiles reads a file of images, and that of their labels if there is one.
func readFiles(files []File, headers []header, open func(File) (io.ReadCloser, error)) Part {
	return func(yield func([]byte, byte) error) (err error) {
		readers := make([]*bufio.Reader, len(files))
		items := [][]byte{make([]byte, headers[0].item()), {0}}
		for i, f := range files {
			content, openErr := open(f)
			if openErr != nil {
				return openErr
			}
			defer func() { err = errors.Join(err, content.Close()) }()
			readers[i] = bufio.NewReaderSize(content, blockSize)
			if _, err := readHeader(readers[i], f.kind()); err != nil {
				return fmt.Errorf("read %s: %w", f.place, err)
			}
		}
		for number := range headers[0].count {
			for i, r := range readers {
				if _, err := io.ReadFull(r, items[i]); err != nil {
					return cutOff(files[i], headers[i], number, err)
				}
			}
			if err := yield(items[0], items[1][0]); err != nil {
				return err
			}
		}
		for i, r := range readers {
			// The end is where the content is verified.
			if n, err := io.CopyN(io.Discard, r, 1); n > 0 {
				return invalidf("read %s: its header announces %d bytes, it has more", files[i].place, headers[i].size())
			} else if !errors.Is(err, io.EOF) {
				return fmt.Errorf("read %s: %w", files[i].place, err)
			}
		}
		return nil
	}
}

// cutOff is the error for a file that ends before its header says.
func cutOff(f File, h header, number int, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return invalidf("read %s: its header announces %d %s, it ends after %d", f.place, h.count, h.kind.word(), number)
	}
	return fmt.Errorf("read %s: %w", f.place, err)
}
