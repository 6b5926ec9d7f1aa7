package source

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trellis/trainer/dataset"
)

func write(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// count is bytes that count up, and over.
func count(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

// read is what a source yields.
type read struct {
	Height, Width, Channels int
	Train, Test             []byte
	TrainLabels, TestLabels []byte
}

func readAll(t testing.TB, path string, options Options) (read, *dataset.Source, error) {
	t.Helper()
	s, err := Open(t.Context(), path, options)
	if err != nil {
		return read{}, nil, err
	}
	r := read{Height: s.Height, Width: s.Width, Channels: s.Channels}
	for _, part := range []struct {
		read           dataset.Part
		pixels, labels *[]byte
	}{{s.Train, &r.Train, &r.TrainLabels}, {s.Test, &r.Test, &r.TestLabels}} {
		if part.read == nil {
			continue
		}
		if err := part.read(func(pixels []byte, label byte) error {
			*part.pixels, *part.labels = append(*part.pixels, pixels...), append(*part.labels, label)
			return nil
		}); err != nil {
			return read{}, nil, err
		}
	}
	return r, s, nil
}

func TestCIFAR(t *testing.T) {
	record := func(label byte, value byte) []byte {
		return append([]byte{label}, bytes.Repeat([]byte{value}, 3072)...)
	}
	files := func() map[string][]byte {
		return map[string][]byte{
			"data_batch_1.bin": append(record(3, 10), record(9, 11)...), "data_batch_2.bin": record(0, 12),
			"data_batch_10.bin": record(1, 13), "test_batch.bin": record(5, 14),
			"batches.meta.txt": []byte("airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n"),
		}
	}
	for want, change := range map[string]func(map[string][]byte){
		"": func(map[string][]byte) {},
		"test_batch.bin has 3072 bytes, want a multiple of 3073":      func(f map[string][]byte) { f["test_batch.bin"] = f["test_batch.bin"][1:] },
		"data_batch_2.bin has 0 bytes":                                func(f map[string][]byte) { f["data_batch_2.bin"] = nil },
		"but not test_batch.bin":                                      func(f map[string][]byte) { delete(f, "test_batch.bin") },
		"image 2 of":                                                  func(f map[string][]byte) { f["data_batch_1.bin"][3073] = 10 },
		"batches.meta.txt has 1 names, want 10":                       func(f map[string][]byte) { f["batches.meta.txt"] = []byte("cat") },
		"has the Python version of CIFAR-10: take the binary version": func(f map[string][]byte) { clear(f); f["data_batch_1"] = []byte("\x80\x02}") },
		"the images of":                                               func(f map[string][]byte) {},
	} {
		folder, its := t.TempDir()+"/[cifar]", files()
		change(its)
		for name, content := range its {
			write(t, filepath.Join(folder, name), content)
		}
		options := Options{}
		if want == "the images of" {
			options.Channels = 1
		}
		got, s, err := readAll(t, folder, options)
		if want != "" {
			if !errors.Is(err, dataset.ErrInvalid) || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want ErrInvalid: %s", err, want)
			}
			continue
		}
		if err != nil || !bytes.Equal(got.TrainLabels, []byte{3, 9, 0, 1}) || !bytes.Equal(got.TestLabels, []byte{5}) ||
			got.Train[0] != 10 || got.Train[3*3072] != 13 || s.Classes[3] != "cat" || s.Channels != 3 {
			t.Errorf("got labels %v and %v, classes %v, %v", got.TrainLabels, got.TestLabels, s.Classes, err)
		}
	}
}

// encode writes a picture as PNG, or as JPEG.
func encode(t testing.TB, picture image.Image, asJPEG bool) []byte {
	t.Helper()
	var b bytes.Buffer
	err := png.Encode(&b, picture)
	if asJPEG {
		b.Reset()
		err = jpeg.Encode(&b, picture, &jpeg.Options{Quality: 100})
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// filled is a picture of 4 x 3 pixels of one color.
func filled[P interface {
	image.Image
	Set(x, y int, c color.Color)
}](picture P, c color.Color) P {
	for y := range 3 {
		for x := range 4 {
			picture.Set(x, y, c)
		}
	}
	return picture
}

// withAlpha is a PNG of 4 x 3 gray pixels with alpha, which Go does not write where they are opaque.
func withAlpha(value, alpha byte) []byte {
	var pixels bytes.Buffer
	z := zlib.NewWriter(&pixels)
	for range 3 {
		z.Write(append([]byte{0}, bytes.Repeat([]byte{value, alpha}, 4)...))
	}
	z.Close()
	file := []byte("\x89PNG\r\n\x1a\n")
	for _, chunk := range [][]byte{
		[]byte("IHDR\x00\x00\x00\x04\x00\x00\x00\x03\x08\x04\x00\x00\x00"), append([]byte("IDAT"), pixels.Bytes()...), []byte("IEND"),
	} {
		file = append(binary.BigEndian.AppendUint32(file, uint32(len(chunk)-4)), chunk...)
		file = binary.BigEndian.AppendUint32(file, crc32.ChecksumIEEE(chunk))
	}
	return file
}

var frame = image.Rect(0, 0, 4, 3)

func grayPicture(value byte) image.Image { return filled(image.NewGray(frame), color.Gray{value}) }

func TestPictures(t *testing.T) {
	red := color.NRGBA{200, 10, 30, 255}
	palette := image.NewPaletted(frame, color.Palette{red, color.NRGBA{7, 7, 7, 255}})
	write12 := func(values ...byte) (b []byte) {
		for _, value := range values {
			b = append(b, bytes.Repeat([]byte{value}, 12)...)
		}
		return b
	}
	for name, test := range map[string]struct {
		files   map[string]image.Image
		options Options
		want    read
		classes []string
	}{
		"classes by number": {
			map[string]image.Image{"10/a.png": grayPicture(10), "9/a.png": grayPicture(9), "9/sub/b.PNG": grayPicture(9)},
			Options{},
			read{3, 4, 1, nil, nil, nil, nil},
			[]string{"9", "10"},
		},
		"colored and gray": {
			map[string]image.Image{"train/cat/a.png": filled(image.NewNRGBA(frame), red), "test/dog/a.png": grayPicture(9)},
			Options{},
			read{3, 4, 3, write12(200, 10, 30), write12(9, 9, 9), []byte{0}, []byte{1}},
			[]string{"cat", "dog"},
		},
		"made gray": {
			map[string]image.Image{"train/cat/a.png": palette, "test/cat/a.png": grayPicture(9)},
			Options{Channels: 1},
			read{3, 4, 1, write12(69), write12(9), []byte{0}, []byte{0}},
			[]string{"cat"},
		},
		"validation last": {
			map[string]image.Image{
				"train/a.png": grayPicture(1), "val/a.png": grayPicture(2), "test/a.png": grayPicture(3),
			},
			Options{},
			read{3, 4, 1, write12(1, 2), write12(3), []byte{0, 0}, []byte{0}},
			nil,
		},
		"transparent": {
			map[string]image.Image{
				"train/a.png": filled(image.NewNRGBA(frame), color.NRGBA{200, 10, 30, 100}), "test/a.png": grayPicture(3),
			},
			Options{Channels: 4},
			read{3, 4, 4, write12(200, 10, 30, 100), write12(3, 3, 3, 255), []byte{0}, []byte{0}},
			nil,
		},
		"opaque and gray, with alpha": {
			map[string]image.Image{"train/a.jpeg": grayPicture(128), "test/a.png": nil},
			Options{},
			read{3, 4, 1, write12(128), write12(3), []byte{0}, []byte{0}},
			nil,
		},
	} {
		folder := t.TempDir()
		for file, picture := range test.files {
			if picture == nil {
				write(t, filepath.Join(folder, file), withAlpha(3, 255))
				continue
			}
			write(t, filepath.Join(folder, file), encode(t, picture, strings.HasSuffix(file, "jpeg")))
		}
		got, s, err := readAll(t, folder, test.options)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if test.want.Train == nil { // Their order is that of a hash.
			for i, label := range got.TrainLabels {
				if want := s.Classes[label]; fmt.Sprint(got.Train[12*i]) != want {
					t.Errorf("%s: an image of class %s has label %d", name, want, label)
				}
			}
			got = read{Height: got.Height, Width: got.Width, Channels: got.Channels}
		}
		if fmt.Sprint(got) != fmt.Sprint(test.want) || !slices.Equal(s.Classes, test.classes) {
			t.Errorf("%s: got %v of %v, want %v of %v", name, got, s.Classes, test.want, test.classes)
		}
	}
}

// TestShuffled: the order is the same each time, and not that of classes.
func TestShuffled(t *testing.T) {
	folder := t.TempDir()
	for i := range 40 {
		write(t, fmt.Sprintf("%s/%d/%d.png", folder, i%2, i), encode(t, grayPicture(byte(i)), false))
	}
	first, _, err := readAll(t, folder, Options{})
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := readAll(t, folder, Options{})
	if err != nil || !bytes.Equal(first.Train, second.Train) {
		t.Errorf("two orders of one folder, %v", err)
	}
	if half := bytes.Count(first.TrainLabels[20:], []byte{1}); half < 5 || half > 15 {
		t.Errorf("of the last 20 images, %d have the label 1: %v", half, first.TrainLabels)
	}
}

// TestFolders: which folders are those of the parts and of classes, and which are left out.
func TestFolders(t *testing.T) {
	picture := encode(t, grayPicture(1), false)
	for name, test := range map[string]struct {
		files []string
		// links lead from names to folders.
		links map[string]string
		want  string
	}{
		"a class named train": {
			[]string{"car/a.png", "train/a.png"},
			nil,
			"has the folder train, and beside it car with pictures: if all are classes, move them into a new folder named train; " +
				"if train has the pictures for training, move car elsewhere",
		},
		"a class named Training beside a linked one": {
			[]string{"Training/a.png", "../cars/sub/a.png"}, map[string]string{"car": "../cars"}, "has the folder Training, and beside it car",
		},
		"a file named train": {[]string{"car/a.png", "train", "bus/a.png"}, nil, "[bus car] 2 map[not_an_image:1]"},
		"a file named test":  {[]string{"train/car/a.png", "test"}, nil, "[car] 1 map[not_an_image:1]"},
		"other folders": {
			[]string{"train/car/a.png", "notes/a.txt", "notes/.thumbs/a.png", "notes/.b.png", ".git/a.png", "b.png"},
			nil,
			"[car] 1 map[hidden:1 no_class:1 other_folder:1]",
		},
		"a linked class": {
			[]string{"car/a.png", "../trucks/deep/a.png"}, map[string]string{"truck": "../trucks"}, "[car truck] 2 map[]",
		},
		"a linked part and class": {
			[]string{"../parts/car/a.png", "../trucks/a.png", "test/car/a.png"},
			map[string]string{"train": "../parts", "../parts/truck": "../trucks"},
			"[car truck] 3 map[]",
		},
		"links that lead back": {
			[]string{"car/a.png"}, map[string]string{"car/sub": "..", "gone": "nowhere"}, "[car] 1 map[linked_folder:1 not_an_image:1]",
		},
	} {
		folder := t.TempDir() + "/set"
		for _, file := range test.files {
			write(t, filepath.Join(folder, file), picture)
		}
		for link, target := range test.links {
			if err := os.Symlink(filepath.Join(folder, target), filepath.Join(folder, link)); err != nil {
				t.Fatal(err)
			}
		}
		got, s, err := readAll(t, folder, Options{})
		if err != nil {
			if !errors.Is(err, dataset.ErrInvalid) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: got %v, want %s", name, err, test.want)
			}
			continue
		}
		if got := fmt.Sprint(s.Classes, " ", len(got.TrainLabels)+len(got.TestLabels), " ", s.LeftOut.Counts); got != test.want {
			t.Errorf("%s: got %s, want %s", name, got, test.want)
		}
	}
}

// TestInterrupted: looking at pictures, which can take long, ends with its context.
func TestInterrupted(t *testing.T) {
	folder, ctx := t.TempDir(), t.Context()
	write(t, folder+"/a.png", encode(t, grayPicture(1), false))
	interrupted := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(ctx)
	cancel(interrupted)
	if _, err := Open(ctx, folder, Options{}); !errors.Is(err, interrupted) {
		t.Errorf("got %v, want %v", err, interrupted)
	}
}

// TestUnfitPictures: those that can't be imported are all named, or left out and noted.
func TestUnfitPictures(t *testing.T) {
	folder := t.TempDir()
	good := encode(t, grayPicture(1), false)
	wide := image.NewGray(image.Rect(0, 0, 5, 3))
	for file, content := range map[string][]byte{
		"a/1.png": good, "a/2.png": good, "b/3.png": good, "README": []byte("x"), "a/.DS_Store": []byte("x"), "beside.png": good,
		"a/16.png":    encode(t, image.NewGray16(frame), false),
		"a/alpha.png": encode(t, filled(image.NewNRGBA(frame), color.NRGBA{1, 1, 1, 7}), false),
		"b/cut.png":   good[:len(good)-20], "b/head.png": good[:20], "b/text.jpg": []byte("<html>"), "b/wide.png": encode(t, wide, false),
	} {
		write(t, filepath.Join(folder, file), content)
	}
	want := map[string]string{
		"a/16.png": "it has 16 bits a channel, want 8", "a/alpha.png": "it is transparent: pixel (0, 0) has alpha 7",
		"b/head.png": "it is cut off", "b/text.jpg": "it is neither PNG nor JPEG", "b/wide.png": "it has 3 x 5 pixels, 4 of 5 have 3 x 4",
		"b/cut.png": "it is damaged",
	}
	_, _, err := readAll(t, folder, Options{})
	if !errors.Is(err, ErrUnfit) || !errors.Is(err, dataset.ErrInvalid) || !strings.HasPrefix(err.Error(), "6 of 9 pictures") {
		t.Fatalf("got %v, want ErrUnfit for 6 of 9", err)
	}
	for file, what := range want {
		if !strings.Contains(err.Error(), file+": "+what) {
			t.Errorf("%v does not say %s: %s", err, file, what)
		}
	}
	got, s, err := readAll(t, folder, Options{SkipUnfit: true})
	if err != nil || len(got.Train) != 3*12 || got.Channels != 1 {
		t.Fatalf("got %d bytes and %v, want three images", len(got.Train), err)
	}
	counts := map[dataset.Reason]int{dataset.Unfit: 6, dataset.Hidden: 1, dataset.NotAnImage: 1, dataset.NoClass: 1}
	if fmt.Sprint(s.LeftOut.Counts) != fmt.Sprint(counts) || len(s.LeftOut.Examples) != 9 {
		t.Errorf("got %+v, want %v", s.LeftOut, counts)
	}
}

// TestTransparentPictures: all are counted, whatever channels were asked for, and leaving them out is offered only
// where others are left.
func TestTransparentPictures(t *testing.T) {
	opaque, transparent := encode(t, grayPicture(1), false), encode(t, filled(image.NewNRGBA(frame), color.NRGBA{1, 1, 1, 7}), false)
	for name, test := range map[string]struct {
		files map[string][]byte
		want  string
		left  bool
	}{
		"some": {map[string][]byte{"a/1.png": opaque, "a/2.png": transparent, "b/3.png": transparent}, "2 of 3 pictures", true},
		"all":  {map[string][]byte{"a/1.png": transparent, "b/2.png": transparent}, "2 of 2 pictures", false},
		"all to test": {
			map[string][]byte{"train/a/1.png": opaque, "train/a/2.png": transparent, "test/a/3.png": transparent}, "2 of 3 pictures", false,
		},
	} {
		folder := t.TempDir()
		for file, content := range test.files {
			write(t, filepath.Join(folder, file), content)
		}
		for _, channels := range []int{0, 1, 3} {
			_, _, err := readAll(t, folder, Options{Channels: channels})
			if !errors.Is(err, dataset.ErrInvalid) || errors.Is(err, ErrUnfit) != test.left {
				t.Errorf("%s, %d channels: got %v, want ErrUnfit: %v", name, channels, err, test.left)
			} else if !strings.HasPrefix(err.Error(), test.want) || !strings.Contains(err.Error(), "with --channels 4") {
				t.Errorf("%s, %d channels: got %v, want %s, and --channels 4", name, channels, err, test.want)
			}
		}
		if _, _, err := readAll(t, folder, Options{Channels: 4}); err != nil {
			t.Errorf("%s, 4 channels: %v", name, err)
		}
		if _, _, err := readAll(t, folder, Options{Channels: 1, SkipUnfit: true}); (err == nil) != test.left {
			t.Errorf("%s, without those: %v, others left: %v", name, err, test.left)
		}
	}
}

// cmyk is a JPEG of four channels: headers only, since Go writes none.
var cmyk = append([]byte{
	0xff, 0xd8, 0xff, 0xc0, 0, 20, 8, 0, 3, 0, 4, 4, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0, 4, 0x11, 0, 0xff, 0xda, 0, 2,
}, make([]byte, 64)...)

// TestOtherPaths: what is no set of images is refused, and the error says what would be.
func TestOtherPaths(t *testing.T) {
	for name, test := range map[string]struct {
		file    string
		content []byte
		open    string
		want    string
	}{
		"empty folder":    {"notes.txt", []byte("x"), ".", "has no images: want a folder of PNG or JPEG files for each class"},
		"text":            {"notes.txt", []byte("x"), "notes.txt", "is of no known format: want a folder, a NumPy array"},
		"empty file":      {"notes.txt", nil, "notes.txt", "notes.txt is empty"},
		"picture":         {"a.png", encode(t, grayPicture(1), false), "a.png", "is one picture: name the folder of all"},
		"zip":             {"a.zip", []byte("PK\x03\x04"), "a.zip", "is a zip archive: unpack it, and name the folder"},
		"broken archive":  {"a.npz", []byte("PK\x03\x04 and no more"), "a.npz", "is no archive of NumPy (.npz)"},
		"tar":             {"a.tar.gz", []byte("\x1f\x8b\x08"), "a.tar.gz", "is gzipped: unpack it, and name the folder"},
		"pickle":          {"a.pkl", []byte("\x80\x04"), "a.pkl", "is a Python pickle, which can run code"},
		"IDX":             {"train-images-idx3-ubyte", []byte{0, 0, 8, 3}, "train-images-idx3-ubyte", "is an IDX file: name the folder"},
		"one batch":       {"a.bin", []byte{1, 2}, "a.bin", "is one file of several: name the folder"},
		"IDX alone":       {"train-images-idx3-ubyte", []byte{0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 9}, ".", "t10k-images-idx3-ubyte"},
		"CMYK":            {"a/a.jpg", cmyk, ".", "it is a jpeg picture in CMYK, for print: convert it to RGB"},
		"not of one kind": {"train/a/a.png", encode(t, grayPicture(1), false), ".", "are not both in folders of classes"},
	} {
		folder := t.TempDir()
		write(t, filepath.Join(folder, test.file), test.content)
		if name == "not of one kind" {
			write(t, filepath.Join(folder, "test/a.png"), test.content)
		}
		if _, err := Open(t.Context(), filepath.Join(folder, test.open), Options{}); !errors.Is(err, dataset.ErrInvalid) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want ErrInvalid: %s", name, err, test.want)
		}
	}
	if _, err := Open(t.Context(), t.TempDir()+"/nothing", Options{}); !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), "cannot read ") {
		t.Errorf("got %v, want ErrNotExist: cannot read", err)
	}
}
