package dataset

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Magic numbers of IDX files: unsigned bytes in three dimensions, or in one.
const (
	imagesMagic = 0x0000_0803
	labelsMagic = 0x0000_0801
)

// maxSide is how high or wide an image may be, in pixels.
const maxSide = 4096

// header is what an IDX file says about itself.
type header struct {
	// images says that the file holds images; else it holds labels, and height and width are 0.
	images               bool
	count, height, width int
}

// headerSize is the number of bytes before the pixels or labels.
func (h header) headerSize() int64 {
	if h.images {
		return 16
	}
	return 8
}

// size is what the whole file must measure, in bytes.
func (h header) size() int64 {
	if h.images {
		// count is below 2^32, a side at most 2^12: no overflow.
		return h.headerSize() + int64(h.count)*int64(h.height)*int64(h.width)
	}
	return h.headerSize() + int64(h.count)
}

// readHeader reads the header of a file of images, or else of labels. ErrInvalid if it is none: the error says what the
// file is instead, where that shows.
func readHeader(r io.Reader, images bool) (header, error) {
	h := header{images: images}
	buffer := make([]byte, h.headerSize())
	n, err := io.ReadFull(r, buffer)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return header{}, fmt.Errorf("read IDX header: %w", err)
	}
	kind, want := "labels", uint32(labelsMagic)
	if images {
		kind, want = "images", imagesMagic
	}
	switch {
	case n == 0:
		return header{}, invalidf("the file is empty")
	case n < 4 || binary.BigEndian.Uint32(buffer) != want:
		return header{}, invalidf("it is no IDX file of %s: %s", kind, describe(buffer[:n], images))
	case err != nil:
		return header{}, invalidf("the file ends before its %d-byte IDX header does", len(buffer))
	}
	if h.count = int(binary.BigEndian.Uint32(buffer[4:])); h.count == 0 {
		return header{}, invalidf("the IDX header announces no %s", kind)
	}
	if images {
		h.height = int(binary.BigEndian.Uint32(buffer[8:]))
		h.width = int(binary.BigEndian.Uint32(buffer[12:]))
		if min(h.height, h.width) < 1 || max(h.height, h.width) > maxSide {
			return header{}, invalidf("the IDX header announces images of %d x %d pixels; a side has 1 to %d",
				h.height, h.width, maxSide)
		}
	}
	return h, nil
}
