package dataset

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// idxTypes are the types of an IDX file's values, by the third byte of its magic number. The fourth is the number of
// dimensions.
var idxTypes = map[byte]string{
	0x08: "unsigned bytes", 0x09: "signed bytes", 0x0b: "16-bit integers", 0x0c: "32-bit integers",
	0x0d: "32-bit floats", 0x0e: "64-bit floats",
}

// formats are what people put in place of IDX files, by what it begins with.
var formats = []struct{ start, description string }{
	{"version https://git-lfs", "it is a pointer of Git LFS, not the file itself: git lfs pull fetches that"},
	{"\x93NUMPY", "it is a NumPy array (.npy): import it, or write it as IDX"},
	{"PK\x03\x04", "it is a zip archive: unpack it"},
	{"BZh", "it is compressed with bzip2: decompress it, or use gzip"},
	{"\xfd7zXZ", "it is compressed with xz: decompress it, or use gzip"},
	{"\x28\xb5\x2f\xfd", "it is compressed with zstd: decompress it, or use gzip"},
	{"\x1f\x8b", "it is gzipped twice: decompress it once"},
	{"\x89PNG", "it is a PNG picture: import the folder, since an IDX file holds all images of a part"},
	{"\xff\xd8\xff", "it is a JPEG picture: import the folder, since an IDX file holds all images of a part"},
	{"\x89HDF", "it is an HDF5 file: write it as IDX"},
	{"\x80\x02", "it is a Python pickle: write it as IDX"},
	{"\x80\x03", "it is a Python pickle: write it as IDX"},
	{"\x80\x04", "it is a Python pickle: write it as IDX"},
	{"\x80\x05", "it is a Python pickle: write it as IDX"},
}

// describe says what a file is that is no IDX file of a kind, and what would be right. start is what
// it begins with.
func describe(start []byte, kind kind) string {
	text := bytes.TrimLeft(bytes.TrimPrefix(start, []byte("\xef\xbb\xbf")), " \t\r\n")
	if bytes.HasPrefix(text, []byte("<")) {
		return "it is a web page, which a download that was refused leaves behind: download the file again"
	}
	for _, format := range formats {
		// A file of labels has too short a header for all of it.
		if prefix := format.start[:min(len(format.start), 8)]; bytes.HasPrefix(start, []byte(prefix)) {
			return format.description
		}
	}
	if len(start) >= 4 && start[0] == 0 && start[1] == 0 && idxTypes[start[2]] != "" {
		return describeIDX(start[2], int(start[3]), kind)
	}
	if len(start) >= 4 && start[2] == 0 && start[3] == 0 && start[1] == 0x08 {
		return "its numbers are little-endian: IDX has the most significant byte first"
	}
	if utf8.Valid(text) && bytes.IndexFunc(text, func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' && r != '\r' }) < 0 {
		return fmt.Sprintf("it is a text that begins with %q: write its numbers as IDX", text)
	}
	if len(start) < 4 {
		return fmt.Sprintf("it has %d bytes", len(start))
	}
	return fmt.Sprintf("it begins with %#08x, want %#08x", binary.BigEndian.Uint32(start), kind.magic())
}

// describeIDX describes an IDX file of another type or number of dimensions.
func describeIDX(kind byte, dimensions int, want kind) string {
	const bytesOnly = 0x08
	images := want != labelsKind
	switch {
	case kind == bytesOnly && dimensions == 1 && images:
		return "it holds labels (one dimension): are the files of images and of labels swapped?"
	case kind == bytesOnly && dimensions == 3 && !images:
		return "it holds images (three dimensions): are the files of images and of labels swapped?"
	case kind == bytesOnly && dimensions == 4 && images:
		return "it holds color images (four dimensions): convert them to gray ones, one byte a pixel, or put idx4 into its name"
	case kind == bytesOnly && dimensions == 2 && images:
		return "it holds rows of bytes (two dimensions): images have three, number x height x width"
	case kind == bytesOnly && dimensions == 2:
		return "it holds rows of bytes (two dimensions), as one-hot labels are: labels have one dimension, one byte an image"
	case kind == bytesOnly:
		return fmt.Sprintf("it has %d dimensions", dimensions)
	case images:
		return fmt.Sprintf("it holds %s: convert them to unsigned bytes, 0 for black to 255 for white", idxTypes[kind])
	}
	return fmt.Sprintf("it holds %s: convert them to unsigned bytes, one an image", idxTypes[kind])
}
