package dataset

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"strings"
)

// FileNames are the names of a data set's files, in their fixed order. A data set without labels only has the files of
// images. Files of images with several channels have "idx4" in place of "idx3".
var FileNames = [4]string{
	"train-images-idx3-ubyte",
	"train-labels-idx1-ubyte",
	"t10k-images-idx3-ubyte",
	"t10k-labels-idx1-ubyte",
}

// File is one IDX file of a data set.
type File struct {
	// Name is one of FileNames, with idx4 in place of idx3 where images have several channels.
	Name string
	// SHA256 of the uncompressed content, in lower-case hexadecimal.
	SHA256 string
	// Size of the uncompressed content, in bytes.
	Size int64

	place place
	// blocks are the checksums of the content's blocks. Nil: they are not known. See blockReader.
	blocks []uint32
}

// The part of a name that tells how many dimensions the file has.
const oneChannel, severalChannels = "idx3", "idx4"

// kind is what the file holds, by its name.
func (f File) kind() kind {
	switch {
	case strings.Contains(f.Name, severalChannels):
		return channelsKind
	case strings.Contains(f.Name, oneChannel):
		return imagesKind
	}
	return labelsKind
}

// isImages reports whether the file holds images; else it holds labels.
func (f File) isImages() bool { return f.kind() != labelsKind }

// part is the file's place in FileNames.
func (f File) part() int {
	return slices.Index(FileNames[:], strings.Replace(f.Name, severalChannels, oneChannel, 1))
}

// fileNames are the names of the files of a data set, in their order.
func fileNames(colored, labeled bool) []string {
	names := FileNames[:]
	if !labeled {
		names = []string{FileNames[0], FileNames[2]}
	}
	if !colored {
		return names
	}
	names = slices.Clone(names)
	for i := range names {
		names[i] = strings.Replace(names[i], oneChannel, severalChannels, 1)
	}
	return names
}

// place is the path of a file, which may be a symbolic link. Whether it is gzipped its content tells, not its name:
// browsers decompress what they download, or don't, and keep the name.
type place string

// open returns the file's uncompressed content, whatever it is.
func (p place) open() (io.ReadCloser, error) {
	// Looking first keeps a pipe or a device from being opened, which could block forever.
	info, err := os.Stat(string(p))
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, invalidf("%s is not a regular file", p)
	}
	f, err := os.Open(string(p))
	if err != nil {
		return nil, err
	}
	content, err := uncompressed(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("decompress %s: %w", p, err)
	}
	return openFile{content, f}, nil
}

// length returns how many bytes a regular file has, and whether that is its content, and not gzipped.
func (p place) length() (length int64, plain bool, err error) {
	file, err := os.Open(string(p))
	if err != nil {
		return 0, false, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, false, err
	}
	var start [2]byte
	if _, err := io.ReadFull(file, start[:]); err != nil {
		return 0, false, fmt.Errorf("read %s: %w", p, err)
	}
	return info.Size(), start != [2]byte{gzipMagic0, gzipMagic1}, nil
}

// openFile is a file's uncompressed content. Closing it closes the file.
type openFile struct {
	io.Reader
	io.Closer
}

// open returns the file's uncompressed content, which is verified as it is read: instead of io.EOF comes ErrInvalid if
// the content is not what SHA256 and Size say. No more than Size bytes and one are ever read.
func (f File) open() (io.ReadCloser, error) {
	content, err := f.place.open()
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", f.place, err)
	}
	if f.blocks != nil {
		content = openFile{newBlockReader(content, f), content}
	}
	return &verifiedReader{content: content, verifier: newVerifier(f), place: f.place}, nil
}

// verify reads the whole file.
func (f File) verify() error {
	content, err := f.open()
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, content)
	return errors.Join(err, content.Close())
}

// identify sets SHA256, reading no more than Size bytes and one.
func (f *File) identify() error {
	content, err := f.place.open()
	if err != nil {
		return fmt.Errorf("open %s: %w", f.place, err)
	}
	defer content.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, io.LimitReader(content, f.Size+1))
	switch {
	case err != nil:
		return fmt.Errorf("read %s: %w", f.place, err)
	case size > f.Size:
		return invalidf("read %s: its header announces %d bytes, it has more", f.place, f.Size)
	case size < f.Size:
		return invalidf("read %s: its header announces %d bytes, it has %d", f.place, f.Size, size)
	}
	f.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return nil
}

// verifiedReader hands a file's content on and checks it at its end.
type verifiedReader struct {
	content  io.ReadCloser
	verifier *verifier
	place    place
}

func (r *verifiedReader) Read(p []byte) (int, error) {
	n, err := r.content.Read(p[:min(int64(len(p)), r.verifier.left+1)])
	if n, wrong := r.verifier.Write(p[:n]); wrong != nil {
		return n, fmt.Errorf("read %s: %w", r.place, wrong)
	}
	if err == io.EOF {
		if wrong := r.verifier.verify(); wrong != nil {
			return n, fmt.Errorf("read %s: %w", r.place, wrong)
		}
		return n, io.EOF
	}
	if err != nil {
		return n, fmt.Errorf("read %s: %w", r.place, err)
	}
	return n, nil
}

func (r *verifiedReader) Close() error { return r.content.Close() }

// verifier takes in a file's content and says whether it is the right one.
type verifier struct {
	file File
	hash hash.Hash
	left int64
}

func newVerifier(f File) *verifier {
	return &verifier{file: f, hash: sha256.New(), left: f.Size}
}

// Write accepts no more than the file's size.
func (v *verifier) Write(p []byte) (int, error) {
	if int64(len(p)) > v.left {
		return 0, invalidf("%s has %d bytes, this content has more", v.file.Name, v.file.Size)
	}
	v.left -= int64(len(p))
	return v.hash.Write(p)
}

// verify is for the end of the content.
func (v *verifier) verify() error {
	if v.left > 0 {
		return invalidf("%s has %d bytes, this content ends after %d",
			v.file.Name, v.file.Size, v.file.Size-v.left)
	}
	if found := hex.EncodeToString(v.hash.Sum(nil)); found != v.file.SHA256 {
		return invalidf("%s has SHA-256 %s, this content has %s", v.file.Name, v.file.SHA256, found)
	}
	return nil
}
