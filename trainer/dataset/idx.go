package dataset

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Magic numbers of IDX files: unsigned bytes in three dimensions, four, or one.
const (
	imagesMagic   = 0x0000_0803
	channelsMagic = 0x0000_0804
	labelsMagic   = 0x0000_0801
)

const (
	// MaxSide is how high or wide an image may be, in pixels.
	MaxSide = 4096
	// MaxChannels is how many channels an image may have.
	MaxChannels = 4
	// MaxClasses is how many labels a byte can tell apart.
	MaxClasses = 256
)

// kind is what an IDX file holds.
type kind int

const (
	labelsKind kind = iota
	// imagesKind has one channel: number x height x width.
	imagesKind
	// channelsKind has several: number x channels x height x width.
	channelsKind
)

// word names the kind in errors.
func (k kind) word() string {
	if k == labelsKind {
		return "labels"
	}
	return "images"
}

// magic is what a file of the kind begins with, and size how many bytes its header has.
func (k kind) magic() uint32 {
	return [...]uint32{labelsKind: labelsMagic, imagesKind: imagesMagic, channelsKind: channelsMagic}[k]
}

func (k kind) size() int64 { return [...]int64{labelsKind: 8, imagesKind: 16, channelsKind: 20}[k] }

// header is what an IDX file says about itself.
type header struct {
	kind kind
	// channels, height and width are 0 if the file holds labels.
	count, channels, height, width int
}

// headerSize is the number of bytes before the pixels or labels.
func (h header) headerSize() int64 { return h.kind.size() }

// item is how many bytes an image or a label has.
func (h header) item() int64 {
	if h.kind == labelsKind {
		return 1
	}
	return int64(h.channels) * int64(h.height) * int64(h.width)
}

// size is what the whole file must measure, in bytes.
func (h header) size() int64 {
	// count is below 2^32, a side at most 2^12, and channels are at most 4: no overflow.
	return h.headerSize() + int64(h.count)*h.item()
}

// bytes is the header as it is in the file.
func (h header) bytes() []byte {
	b := binary.BigEndian.AppendUint32(nil, h.kind.magic())
	b = binary.BigEndian.AppendUint32(b, uint32(h.count))
	if h.kind == channelsKind {
		b = binary.BigEndian.AppendUint32(b, uint32(h.channels))
	}
	if h.kind != labelsKind {
		b = binary.BigEndian.AppendUint32(b, uint32(h.height))
		b = binary.BigEndian.AppendUint32(b, uint32(h.width))
	}
	return b
}

// readHeader reads the header of a file of a kind. ErrInvalid if it is none: the error says what the file is instead, where
// that shows.
func readHeader(r io.Reader, kind kind) (header, error) {
	h := header{kind: kind}
	buffer := make([]byte, h.headerSize())
	n, err := io.ReadFull(r, buffer)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return header{}, fmt.Errorf("read IDX header: %w", err)
	}
	switch {
	case n == 0:
		return header{}, invalidf("the file is empty")
	case n < 4 || binary.BigEndian.Uint32(buffer) != kind.magic():
		return header{}, invalidf("it is no IDX file of %s: %s", kind.word(), describe(buffer[:n], kind))
	case err != nil:
		return header{}, invalidf("the file ends before its %d-byte IDX header does", len(buffer))
	}
	if h.count = int(binary.BigEndian.Uint32(buffer[4:])); h.count == 0 {
		return header{}, invalidf("the IDX header announces no %s", kind.word())
	}
	if kind == labelsKind {
		return h, nil
	}
	sides := buffer[8:]
	if h.channels = 1; kind == channelsKind {
		h.channels, sides = int(binary.BigEndian.Uint32(sides)), sides[4:]
	}
	h.height, h.width = int(binary.BigEndian.Uint32(sides)), int(binary.BigEndian.Uint32(sides[4:]))
	if h.channels < 1 || h.channels > MaxChannels {
		return header{}, invalidf("the IDX header announces images of %d channels, want 1 to %d: the dimensions are "+
			"number, channels, height and width", h.channels, MaxChannels)
	}
	if min(h.height, h.width) < 1 || max(h.height, h.width) > MaxSide {
		return header{}, invalidf("the IDX header announces images of %d x %d pixels; a side has 1 to %d",
			h.height, h.width, MaxSide)
	}
	return h, nil
}
