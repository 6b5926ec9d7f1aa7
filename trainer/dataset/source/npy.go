package source

import (
	"bufio"
	"encoding/binary"
	"io"
	"regexp"
	"strconv"
	"strings"

	"trellis/trainer/dataset"
)

// npyMagic is what an array of NumPy begins with. After it come two bytes of version, the header's length (2 bytes in version
// 1, else 4), and the header, a Python dictionary
// (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html). There is no library that reads it without
// trusting it: github.com/sbinet/npyio panics on headers that are cut off, and reads whole arrays.
const npyMagic = "\x93NUMPY"

// maxNPYHeader is far more than NumPy writes for numbers.
const maxNPYHeader = 64 << 10

// maxElements is far more than a data set may have bytes.
const maxElements = 1 << 40

var (
	npyType  = regexp.MustCompile(`'descr': *'([<>|=]?)([a-zA-Z])(\d*)'`)
	npyOrder = regexp.MustCompile(`'fortran_order': *(True|False)`)
	npyShape = regexp.MustCompile(`'shape': *\(([0-9, ]*)\)`)
)

// npy is what an array says about itself.
type npy struct {
	// kind is NumPy's letter: u for unsigned integers, i for signed ones, and others. size is an element's in bytes.
	kind      byte
	size      int
	bigEndian bool
	shape     []int
	// elements is the product of shape, and length how many bytes the whole file should have.
	elements, length int64
}

// typeName is the type as NumPy calls it.
func (a npy) typeName() string {
	word := map[byte]string{'u': "uint", 'i': "int", 'f': "float", 'c': "complex"}[a.kind]
	switch {
	case word != "":
		return word + strconv.Itoa(8*a.size)
	case a.kind == 'b':
		return "bool"
	case a.kind == 'U' || a.kind == 'S':
		return "text"
	}
	return "of type " + strconv.Quote(string(a.kind))
}

// readNPY reads an array's header. path is for errors.
func readNPY(path string, r *bufio.Reader) (npy, error) {
	var start [8]byte
	if _, err := io.ReadFull(r, start[:]); err != nil {
		return npy{}, headerError(path, err)
	}
	if string(start[:6]) != npyMagic {
		return npy{}, dataset.Invalidf("%s is no NumPy array: write it with numpy.save or numpy.savez", path)
	}
	length, size := 0, 2
	if start[6] > 1 {
		size = 4
	}
	if start[6] < 1 || start[6] > 3 {
		return npy{}, dataset.Invalidf("%s has version %d of NumPy's format, want 1 to 3", path, start[6])
	}
	number := make([]byte, 4)
	if _, err := io.ReadFull(r, number[:size]); err != nil {
		return npy{}, headerError(path, err)
	}
	if length = int(binary.LittleEndian.Uint32(number)); length > maxNPYHeader {
		return npy{}, dataset.Invalidf("%s announces a header of %d bytes, at most %d are read", path, length, maxNPYHeader)
	}
	header := make([]byte, length)
	if _, err := io.ReadFull(r, header); err != nil {
		return npy{}, headerError(path, err)
	}
	a, err := parseNPY(path, string(header))
	if err != nil {
		return npy{}, err
	}
	a.length = int64(len(start)+size+length) + a.elements*int64(a.size)
	return a, nil
}

func headerError(path string, err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return dataset.Invalidf("%s ends within its header", path)
	}
	return err
}

func parseNPY(path, header string) (npy, error) {
	kind, order, shape := npyType.FindStringSubmatch(header), npyOrder.FindStringSubmatch(header),
		npyShape.FindStringSubmatch(header)
	if kind == nil || order == nil || shape == nil {
		return npy{}, dataset.Invalidf("%s is not an array of numbers: its header is %q", path, header[:min(len(header), 120)])
	}
	if kind[2] == "O" {
		return npy{}, dataset.Invalidf("%s has Python objects, which only Python reads, and which can run code: "+
			"make it an array of uint8, all images of one size", path)
	}
	if order[1] == "True" {
		return npy{}, dataset.Invalidf("%s is in Fortran's order: save numpy.ascontiguousarray of it", path)
	}
	a := npy{kind: kind[2][0], size: 1, bigEndian: kind[1] == ">", elements: 1}
	if kind[3] != "" {
		size, err := strconv.Atoi(kind[3])
		if err != nil || size < 1 || size > 1<<20 {
			return npy{}, dataset.Invalidf("%s has elements of %s bytes", path, kind[3])
		}
		a.size = size
	}
	for _, text := range strings.FieldsFunc(shape[1], func(r rune) bool { return r == ',' || r == ' ' }) {
		side, err := strconv.Atoi(text)
		if err != nil || side > maxElements || side > 0 && a.elements > maxElements/int64(side) {
			return npy{}, dataset.Invalidf("%s announces the shape (%s), which is more than fits into a data set", path, shape[1])
		}
		a.shape, a.elements = append(a.shape, side), a.elements*int64(side)
	}
	if a.elements == 0 {
		return npy{}, dataset.Invalidf("%s is empty: its shape is (%s)", path, shape[1])
	}
	return a, nil
}
