//go:build !race

package dataset

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReadHeader(t *testing.T) {
	for _, test := range []struct {
		name    string
		content []byte
		kind    kind
		want    header
		message string // Empty: no error.
	}{
		{"images", words(imagesMagic, 2, 3, 4), imagesKind, header{imagesKind, 2, 1, 3, 4}, ""},
		{"labels", words(labelsMagic, 7), labelsKind, header{labelsKind, 7, 0, 0, 0}, ""},
		{"most", words(imagesMagic, 0xffffffff, MaxSide, MaxSide), imagesKind, header{imagesKind, 0xffffffff, 1, MaxSide, MaxSide}, ""},
		{"empty", nil, imagesKind, header{}, "the file is empty"},
		{"cut off", words(imagesMagic, 2, 3), imagesKind, header{}, "ends before its 16-byte"},
		{"labels cut off", words(labelsMagic), labelsKind, header{}, "ends before its 8-byte"},
		{"labels for images", words(labelsMagic, 7, 1, 1), imagesKind, header{}, "it holds labels (one dimension)"},
		{"images for labels", words(imagesMagic, 7, 1, 1), labelsKind, header{}, "it holds images (three dimensions)"},
		{"floats", words(0x0d03, 1, 1, 1), imagesKind, header{}, "it holds 32-bit floats: convert them to unsigned bytes, 0 for black"},
		{"floats for labels", words(0x0e01, 1), labelsKind, header{}, "it holds 64-bit floats: convert them to unsigned bytes, one an image"},
		{"color", words(0x0804, 1, 1, 1, 3), imagesKind, header{}, "it holds color images (four dimensions): convert them to gray"},
		{"flat images", words(0x0802, 1, 784), imagesKind, header{}, "it holds rows of bytes (two dimensions): images have three"},
		{"one-hot labels", words(0x0802, 7, 10), labelsKind, header{}, "as one-hot labels are"},
		{"five dimensions", words(0x0805, 1, 1, 1, 1, 1), imagesKind, header{}, "it has 5 dimensions"},
		{"little-endian", words(0x03080000, 0x02000000, 1, 1), imagesKind, header{}, "its numbers are little-endian"},
		{"web page", []byte("<!DOCTYPE html>"), imagesKind, header{}, "it is a web page"},
		{"answer of a store", []byte("\xef\xbb\xbf<?xml version='1.0'?>"), labelsKind, header{}, "it is a web page"},
		{"Git LFS", []byte("version https://git-lfs.github.com/spec/v1"), labelsKind, header{}, "git lfs pull"},
		{"NumPy", []byte("\x93NUMPY\x01\x00v\x00{'descr"), imagesKind, header{}, "it is a NumPy array"},
		{"zip", []byte("PK\x03\x04\x14\x00"), imagesKind, header{}, "unpack it"},
		{"gzip in gzip", []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00"), imagesKind, header{}, "gzipped twice"},
		{"text", []byte("5,0,0,12,255,0,0"), labelsKind, header{}, `it is a text that begins with "5,0,0,12"`},
		{"some bytes", []byte{1, 2, 3, 0xff, 9}, imagesKind, header{}, "it begins with 0x010203ff, want 0x00000803"},
		{"a byte", []byte{1}, imagesKind, header{}, "it has 1 bytes"},
		{"no images", words(imagesMagic, 0, 3, 4), imagesKind, header{}, "announces no images"},
		{"no labels", words(labelsMagic, 0), labelsKind, header{}, "announces no labels"},
		{"no height", words(imagesMagic, 2, 0, 4), imagesKind, header{}, "0 x 4 pixels"},
		{"no width", words(imagesMagic, 2, 3, 0), imagesKind, header{}, "3 x 0 pixels"},
		{"too high", words(imagesMagic, 2, MaxSide+1, 4), imagesKind, header{}, "4097 x 4 pixels; a side has 1 to 4096"},
		{"too wide", words(imagesMagic, 2, 3, 0xffffffff), imagesKind, header{}, "4294967295 pixels"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := readHeader(bytes.NewReader(test.content), test.kind)
			if test.message == "" {
				if err != nil || got != test.want {
					t.Fatalf("got %+v, %v; want %+v", got, err, test.want)
				}
				return
			}
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), test.message) {
				t.Fatalf("got %v; want ErrInvalid with %q", err, test.message)
			}
		})
	}
	failure := errors.New("disk on fire")
	if _, err := readHeader(iotest.ErrReader(failure), imagesKind); !errors.Is(err, failure) || errors.Is(err, ErrInvalid) {
		t.Errorf("a failed read gave %v; want that failure, and no word on the file", err)
	}
}

func TestHeaderSizeDoesNotOverflow(t *testing.T) {
	got := header{kind: imagesKind, count: 0xffffffff, channels: 1, height: MaxSide, width: MaxSide}.size()
	if want := int64(0xffffffff)<<24 + 16; got != want {
		t.Errorf("got %d, want %d", got, want)
	}
}

// TestVerifiedReaderStops: it asks for one byte more than the file should have, however much there is.
func TestVerifiedReaderStops(t *testing.T) {
	content := make([]byte, 1000)
	for _, size := range []int64{1, 10, 999} {
		source := bytes.NewReader(content)
		file := File{Name: FileNames[0], Size: size, SHA256: digestOf(content[:size])}
		_, err := io.ReadAll(&verifiedReader{content: io.NopCloser(source), verifier: newVerifier(file)})
		if read := int64(source.Len()); !errors.Is(err, ErrInvalid) || read != 1000-size-1 {
			t.Errorf("%d bytes of 1000: %d were left, and %v", size, read, err)
		}
	}
}

// FuzzIDX: whatever a file holds, gzipped or not, either it is refused, or it is as long as it says and loads to
// exactly its pixels. It takes no more memory than what there is of it.
func FuzzIDX(f *testing.F) {
	small := newFixture(1)
	f.Add(small[0], true)
	f.Add(small[1], false)
	f.Add(small[0][:20], true)
	f.Add(append(small[1], 0), false)
	f.Add(words(imagesMagic, 0xffffffff, MaxSide, MaxSide), true)
	for _, other := range [][]byte{
		nil,
		{1},
		words(0x0d03, 1, 1, 1), words(0x0805, 1, 1, 1, 1, 1), words(0x03080000, 0x02000000, 1, 1),
		[]byte("<!DOCTYPE html>"), []byte("version https://git-lfs.github.com/spec/v1"),
		[]byte("\x93NUMPY\x01\x00v\x00{'descr"),
		[]byte("PK\x03\x04\x14\x00"), []byte("5,0,0,12,255,0,0"),
		{1, 2, 3, 0xff, 9},
		gzipped(f, gzipped(f, small[0])),
		words(imagesMagic, 0, 3, 4), words(imagesMagic, 2, 0, 4), words(imagesMagic, 2, 3, MaxSide+1),
	} {
		f.Add(other, true)
		f.Add(other, false)
	}
	zipped := gzipped(f, small[0])
	f.Add(zipped, true)
	f.Add(append(append(zipped, gzipped(f, nil)...), 0, 0), true)
	f.Add(zipped[:len(zipped)-9], true)
	f.Add(append(gzipped(f, small[1]), 1), false)
	f.Add(gzipped(f, words(labelsMagic, 0xffffffff)), false)
	f.Fuzz(func(t *testing.T, raw []byte, images bool) {
		file := File{Name: FileNames[1], place: place(filepath.Join(t.TempDir(), "file"))}
		if images {
			file.Name = FileNames[0]
		}
		writeFile(t, string(file.place), raw)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		h, pixels, err := loaded(&file)
		runtime.ReadMemStats(&after)
		content := unzipped(raw)
		if took := after.TotalAlloc - before.TotalAlloc; took > 4<<20+8*uint64(len(raw)+len(content)) {
			t.Errorf("%d bytes of memory for %d, of which %d are announced", took, len(content), h.size())
		}
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%v is not ErrInvalid", err)
			}
			return
		}
		if h.count < 1 || images && (h.height < 1 || h.width < 1) || h.size() <= h.headerSize() {
			t.Errorf("accepted %+v", h)
		}
		if h.size() != int64(len(content)) {
			t.Errorf("%d bytes, announced %d", len(content), h.size())
		}
		if !bytes.Equal(pixels, content[h.headerSize():]) {
			t.Error("the content changed on the way")
		}
	})
}

// loaded is what a file holds, as a data set that is registered is read: first to know it, then for its pixels.
func loaded(file *File) (h header, pixels []byte, err error) {
	if h, err = file.header(); err != nil {
		return h, nil, err
	}
	if err := checkLengths([]File{*file}, []header{h}); err != nil {
		return h, nil, err
	}
	file.Size = h.size()
	if err := file.identify(); err != nil {
		return h, nil, err
	}
	pixels, err = file.load()
	return h, pixels, err
}

// unzipped is what a file holds, as the standard library reads it, whatever follows.
func unzipped(raw []byte) []byte {
	if !bytes.HasPrefix(raw, []byte{gzipMagic0, gzipMagic1}) {
		return raw
	}
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil
	}
	content, _ := io.ReadAll(z)
	return content
}
