package source

import (
	"archive/zip"
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"trellis/trainer/dataset"
)

// arrayFile is an array in a file of its own, or in an archive.
type arrayFile interface {
	// path is for errors, name says what it is: see roleOf.
	path() string
	name() string
	// open returns its content and how many bytes that has.
	open() (io.ReadCloser, int64, error)
}

type diskArray struct{ file, role string }

func (a diskArray) path() string { return a.file }

func (a diskArray) name() string { return a.role }

func (a diskArray) open() (io.ReadCloser, int64, error) {
	file, err := os.Open(a.file)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}

// zippedArray is an array in an archive, which is opened for each, because nobody would close it.
type zippedArray struct{ archive, entry string }

func (a zippedArray) path() string { return a.archive + "/" + a.entry }

func (a zippedArray) name() string { return strings.TrimSuffix(a.entry, ".npy") }

func (a zippedArray) open() (io.ReadCloser, int64, error) {
	archive, err := zip.OpenReader(a.archive)
	if err != nil {
		return nil, 0, fmt.Errorf("open %s: %w", a.archive, err)
	}
	i := slices.IndexFunc(archive.File, func(f *zip.File) bool { return f.Name == a.entry })
	if i < 0 {
		return nil, 0, errors.Join(dataset.Invalidf("%s is gone", a.path()), archive.Close())
	}
	content, err := archive.File[i].Open()
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("open %s: %w", a.path(), err), archive.Close())
	}
	return zippedContent{content, archive}, int64(min(archive.File[i].UncompressedSize64, 1<<62)), nil
}

type zippedContent struct {
	io.ReadCloser
	archive io.Closer
}

func (z zippedContent) Close() error { return errors.Join(z.ReadCloser.Close(), z.archive.Close()) }

func openArchive(path string) (*dataset.Source, error) {
	archive, err := zip.OpenReader(path)
	if err != nil {
		return nil, dataset.Invalidf("%s is no archive of NumPy (.npz): %w", path, err)
	}
	var files []arrayFile
	for _, f := range archive.File {
		files = append(files, zippedArray{path, f.Name})
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return openArrays(path, files)
}

// role is what an array is: the images or labels of a part.
type role struct {
	part   string
	labels bool
}

// The parts of a set of arrays. whole is neither: the source does not say what is for testing.
const (
	whole      = ""
	train      = "train"
	validation = "val"
	test       = "test"
)

func (r role) String() string {
	name := "x"
	if r.labels {
		name = "y"
	}
	return strings.TrimSuffix(name+"_"+r.part, "_")
}

// roleOf tells what an array is by the words of its name: x_train, train_images, y, labels_test, arr_0 and the like.
func roleOf(name string) (r role, ok bool) {
	switch name {
	case "arr_0":
		return role{}, true
	case "arr_1":
		return role{labels: true}, true
	}
	var kinds, parts int
	for _, word := range strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r == '_' || r == '-' }) {
		switch word {
		case "x", "images", "image", "imgs", "data":
			kinds++
		case "y", "labels", "label", "targets":
			r.labels = true
			kinds++
		case "train", "training":
			r.part = train
			parts++
		case "val", "valid", "validation":
			r.part = validation
			parts++
		case "test", "testing":
			r.part = test
			parts++
		default:
			return role{}, false
		}
	}
	return r, kinds == 1 && parts <= 1
}

// openArrays opens what are images and labels of arrays.
func openArrays(path string, files []arrayFile) (*dataset.Source, error) {
	source := &dataset.Source{Format: dataset.NumPy}
	roles := make(map[role]arrayFile)
	var names []string
	for _, file := range files {
		names = append(names, file.name())
		r, ok := roleOf(file.name())
		if !ok {
			source.LeftOut.Add(file.path(), dataset.UnknownArray, nil)
			continue
		}
		if other := roles[r]; other != nil {
			return nil, dataset.Invalidf("%s and %s are both %s: keep one", other.path(), file.path(), r)
		}
		roles[r] = file
	}
	parts := slices.ContainsFunc(slices.Collect(maps.Keys(roles)), func(r role) bool { return r.part != whole })
	if all, some := roles[role{whole, false}] != nil, roles[role{train, false}] != nil; all && parts || !all && !some {
		return nil, dataset.Invalidf("%s has the arrays %s: want x_train, y_train, x_test and y_test, or x and y; y can be missing",
			path, strings.Join(names[:min(len(names), 20)], ", "))
	}
	for _, part := range []string{whole, train, validation, test} {
		if err := addPart(path, source, part, roles); err != nil {
			return nil, err
		}
	}
	return source, nil
}

// addPart adds a part to the source if there are images for it. Those to validate come last among those to train, which is
// where a study takes them from.
func addPart(path string, source *dataset.Source, part string, roles map[role]arrayFile) error {
	images, labels := roles[role{part, false}], roles[role{part, true}]
	if images == nil {
		if labels != nil {
			return dataset.Invalidf("%s has the labels %s, but not the images %s", path, labels.name(), role{part, false})
		}
		return nil
	}
	first := source.Train == nil
	labeled := slices.ContainsFunc(slices.Collect(maps.Keys(roles)), func(r role) bool { return r.labels })
	if labeled && labels == nil {
		return dataset.Invalidf("%s has labels, but none for %s: want %s", path, images.name(), role{part, true})
	}
	x, err := openImages(images)
	if err != nil {
		return err
	}
	if first {
		source.Height, source.Width, source.Channels, source.Labeled = x.height, x.width, x.channels, labeled
	} else if x.height != source.Height || x.width != source.Width || x.channels != source.Channels {
		return dataset.Invalidf("the images of %s have %d x %d pixels and %s, those for training %d x %d and %d",
			images.path(), x.height, x.width, channels(x.channels), source.Height, source.Width, source.Channels)
	}
	if labels != nil {
		if err := checkLabels(labels, x.count); err != nil {
			return err
		}
	}
	its := x.part(labels)
	switch {
	case part == test:
		source.Test = its
	case first:
		source.Train = its
	default:
		before := source.Train
		source.Train = func(yield func([]byte, byte) error) error {
			if err := before(yield); err != nil {
				return err
			}
			return its(yield)
		}
	}
	return nil
}

// arrayImages is an array of images.
type arrayImages struct {
	file                           arrayFile
	count, height, width, channels int
	// last says that an image's channels come together for each pixel, not one after the other.
	last bool
}

// begin opens an array and reads its header. Its type is one that fits, and its content has the length that it announces.
func begin(file arrayFile, fits func(path string, a npy) error) (npy, *bufio.Reader, io.Closer, error) {
	content, length, err := file.open()
	if err != nil {
		return npy{}, nil, nil, err
	}
	r := bufio.NewReaderSize(content, 1<<20)
	a, err := readNPY(file.path(), r)
	if err == nil {
		// The type comes first: only of numbers is it known how long they are.
		err = fits(file.path(), a)
	}
	if err == nil && a.length != length {
		err = dataset.Invalidf("%s announces %d bytes, it has %d", file.path(), a.length, length)
	}
	if err != nil {
		return npy{}, nil, nil, errors.Join(err, content.Close())
	}
	return a, r, content, nil
}

// fitsImages says whether an array's type is that of images.
func fitsImages(path string, a npy) error {
	if a.kind != 'u' || a.size != 1 {
		return dataset.Invalidf("%s is %s, want uint8: scale it to 0 (black) to 255 (white) and save x.astype(numpy.uint8)",
			path, a.typeName())
	}
	return nil
}

// fitsLabels says whether an array's type is that of labels.
func fitsLabels(path string, a npy) error {
	if a.kind != 'u' && a.kind != 'i' || a.size > 8 || a.size&(a.size-1) != 0 {
		return dataset.Invalidf("%s is %s, want integers from 0 to %d", path, a.typeName(), dataset.MaxClasses-1)
	}
	return nil
}

func openImages(file arrayFile) (*arrayImages, error) {
	a, _, content, err := begin(file, fitsImages)
	if err != nil {
		return nil, err
	}
	if err := content.Close(); err != nil {
		return nil, err
	}
	s := a.shape
	x := &arrayImages{file: file, channels: 1}
	most := dataset.MaxChannels
	switch {
	case len(s) == 3:
		x.height, x.width = s[1], s[2]
	case len(s) == 4 && s[3] <= most && s[1] > most:
		x.height, x.width, x.channels, x.last = s[1], s[2], s[3], true
	case len(s) == 4 && s[1] <= most && s[3] > most:
		x.channels, x.height, x.width = s[1], s[2], s[3]
	default:
		return nil, dataset.Invalidf("%s has the shape %s: want (number, height, width), (number, height, width, channels) or "+
			"(number, channels, height, width), with 1 to %d channels", file.path(), tuple(s), most)
	}
	x.count = s[0]
	return x, checkSides(file.path(), x.height, x.width)
}

// tuple writes a shape as Python does.
func tuple(shape []int) string {
	text := strings.Join(strings.Fields(strings.Trim(fmt.Sprint(shape), "[]")), ", ")
	if len(shape) == 1 {
		text += ","
	}
	return "(" + text + ")"
}

// checkLabels says whether an array has a label for each image.
func checkLabels(file arrayFile, images int) error {
	a, _, content, err := begin(file, fitsLabels)
	if err != nil {
		return err
	}
	if err := content.Close(); err != nil {
		return err
	}
	switch {
	case len(a.shape) == 2 && a.shape[1] > 1:
		return dataset.Invalidf("%s has the shape %s, as one-hot labels do: save y.argmax(axis=1)", file.path(), tuple(a.shape))
	case len(a.shape) == 0 || a.elements != int64(a.shape[0]):
		return dataset.Invalidf("%s has the shape %s, want (number,)", file.path(), tuple(a.shape))
	case a.shape[0] != images:
		return dataset.Invalidf("%s has %d labels, want one for each of %d images", file.path(), a.shape[0], images)
	}
	return nil
}

// part reads the images, and their labels if there are any.
func (x *arrayImages) part(y arrayFile) dataset.Part {
	return func(yield func([]byte, byte) error) (err error) {
		_, images, content, err := begin(x.file, fitsImages)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, content.Close()) }()
		label, end := func(int) (byte, error) { return 0, nil }, func() error { return nil }
		if y != nil {
			a, labels, content, err := begin(y, fitsLabels)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, content.Close()) }()
			label = func(number int) (byte, error) { return readLabel(y.path(), a, labels, number) }
			end = func() error { return endOf(y.path(), labels) }
		}
		pixels := make([]byte, x.channels*x.height*x.width)
		planes := pixels
		if x.last {
			planes = make([]byte, len(pixels))
		}
		for number := range x.count {
			if _, err := io.ReadFull(images, pixels); err != nil {
				return readError(x.file.path(), number, err)
			}
			its, err := label(number)
			if err != nil {
				return err
			}
			if x.last {
				separate(planes, pixels, x.channels)
			}
			if err := yield(planes, its); err != nil {
				return err
			}
		}
		return errors.Join(endOf(x.file.path(), images), end())
	}
}

// separate writes channel after channel what has them together for each pixel.
func separate(planes, pixels []byte, channels int) {
	size := len(pixels) / channels
	for channel := range channels {
		plane := planes[channel*size : (channel+1)*size]
		for i := range plane {
			plane[i] = pixels[i*channels+channel]
		}
	}
}

// readLabel reads one integer.
func readLabel(path string, a npy, r io.Reader, number int) (byte, error) {
	var b [8]byte
	if _, err := io.ReadFull(r, b[:a.size]); err != nil {
		return 0, readError(path, number, err)
	}
	if a.bigEndian {
		slices.Reverse(b[:a.size])
	}
	value := binary.LittleEndian.Uint64(b[:])
	if value < dataset.MaxClasses && (a.kind == 'u' || a.size > 1 || value < 128) {
		return byte(value), nil
	}
	text := fmt.Sprint(value)
	if shift := 64 - 8*a.size; a.kind == 'i' {
		text = fmt.Sprint(int64(value<<shift) >> shift)
	}
	return 0, dataset.Invalidf("label %d of %s is %s, want 0 to %d", number+1, path, text, dataset.MaxClasses-1)
}

var (
	_ arrayFile = diskArray{}
	_ arrayFile = zippedArray{}
)
