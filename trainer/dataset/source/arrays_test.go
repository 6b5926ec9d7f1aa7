package source

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trellis/trainer/dataset"
)

// array writes an array as NumPy 2 does.
func array(kind, shape string, content []byte) []byte {
	header := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': %s, }", kind, shape)
	for (len(header)+11)%64 > 0 {
		header += " "
	}
	b := append([]byte(npyMagic), 1, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(header)+1))
	return append(append(b, header+"\n"...), content...)
}

func archive(t testing.TB, arrays map[string][]byte) []byte {
	t.Helper()
	return archiveBy(t, zip.Deflate, arrays)
}

func archiveBy(t testing.TB, method uint16, arrays map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, content := range arrays {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name + ".npy", Method: method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestArrays(t *testing.T) {
	// Two images of 5 x 6 pixels and three channels, with the channels last and first.
	last := count(2 * 5 * 6 * 3)
	first := make([]byte, len(last))
	for image := range 2 {
		for i := range 30 {
			for channel := range 3 {
				first[image*90+channel*30+i] = last[image*90+i*3+channel]
			}
		}
	}
	gray := count(3 * 5 * 6)
	big := array(">i4", "(2, 1)", []byte{0, 0, 0, 7, 0, 0, 0, 255})
	for name, test := range map[string]struct {
		files map[string][]byte
		want  read
	}{
		"channels last": {
			map[string][]byte{"x": array("|u1", "(2, 5, 6, 3)", last), "y": array("<i8", "(2,)", []byte{1, 8: 2, 15: 0})},
			read{5, 6, 3, first, nil, []byte{1, 2}, nil},
		},
		"channels first, big-endian labels": {
			map[string][]byte{"train_images": array("|u1", "(2, 3, 5, 6)", first), "train_labels": big},
			read{5, 6, 3, first, nil, []byte{7, 255}, nil},
		},
		"three parts": {
			map[string][]byte{
				"X_train": array("|u1", "(1, 5, 6)", gray[:30]), "X_val": array("|u1", "(1, 5, 6)", gray[30:60]),
				"X_test": array("|u1", "(1, 5, 6)", gray[60:]),
			},
			read{5, 6, 1, gray[:60], gray[60:], []byte{0, 0}, []byte{0}},
		},
		"saved without names": {
			map[string][]byte{"arr_0": array("|u1", "(3, 5, 6)", gray), "arr_1": array("|i1", "(3,)", []byte{1, 2, 3})},
			read{5, 6, 1, gray, nil, []byte{1, 2, 3}, nil},
		},
	} {
		folder := t.TempDir()
		write(t, folder+"/all.npz", archive(t, test.files))
		for file, content := range test.files {
			write(t, folder+"/arrays/"+file+".npy", content)
		}
		write(t, folder+"/arrays/notes.txt", []byte("notes"))
		for _, path := range []string{"all.npz", "arrays"} {
			got, s, err := readAll(t, filepath.Join(folder, path), Options{})
			if err != nil || fmt.Sprint(got) != fmt.Sprint(test.want) || s.Format != dataset.NumPy {
				t.Errorf("%s in %s: got %v, %v; want %v", name, path, got, err, test.want)
			}
		}
	}
}

// TestUnfitArrays: each error says where, what, and what would be right.
func TestUnfitArrays(t *testing.T) {
	x, y := array("|u1", "(2, 5, 6)", count(60)), array("|u1", "(2,)", []byte{1, 2})
	fortran := bytes.Replace(x, []byte("False"), []byte("True "), 1)
	for want, files := range map[string]map[string][]byte{
		"x.npy is float32, want uint8: scale it":                    {"x": array("<f4", "(2, 5, 6)", count(240))},
		"x.npy is bool, want uint8":                                 {"x": array("|b1", "(2, 5, 6)", count(60))},
		"x.npy is uint16, want uint8":                               {"x": array("<u2", "(2, 5, 6)", count(120))},
		"x.npy is in Fortran's order: save numpy.ascontiguousarray": {"x": fortran},
		"x.npy has Python objects":                                  {"x": array("|O", "(2,)", count(60))},
		"x.npy announces 188 bytes, it has 187":                     {"x": x[:len(x)-1]},
		"x.npy announces 188 bytes, it has 189":                     {"x": append(slices.Clone(x), 0)},
		"x.npy announces the shape (1, 9223372036854775807, 2)":     {"x": array("|u1", "(1, 9223372036854775807, 2)", nil)},
		"x.npy announces the shape (2000000, 1000, 1000)":           {"x": array("|u1", "(2000000, 1000, 1000)", nil)},
		"x.npy announces 1000000128 bytes, it has 148":              {"x": array("|u1", "(1000, 1000, 1000)", count(20))},
		"x.npy is empty: its shape is (0, 5, 6)":                    {"x": array("|u1", "(0, 5, 6)", nil)},
		"x.npy has the shape (2, 30): want (number, height, width)": {"x": array("|u1", "(2, 30)", count(60))},
		"x.npy has the shape (): want (number, height, width)":      {"x": array("|u1", "()", count(1))},
		"y.npy has the shape (), want (number,)":                    {"x": x, "y": array("|u1", "()", count(1))},
		"y.npy is text, want integers from 0 to 255":                {"x": x, "y": array("<U5", "(2,)", count(40))},
		"x.npy is text, want uint8":                                 {"x": array("|S3", "(2,)", count(6))},
		"x.npy is int32, want uint8":                                {"x": array("<i4", "(2, 5, 6)", count(60))},
		"x.npy has the shape (2, 5, 6, 5)":                          {"x": array("|u1", "(2, 5, 6, 5)", count(300))},
		"x.npy has images of 1 x 5000 pixels; a side has 1 to 4096": {"x": array("|u1", "(2, 1, 5000)", count(10000))},
		"x.npy ends within its header":                              {"x": x[:40]},
		"x.npy is no NumPy array":                                   {"x": []byte("hello, world")},
		"x.npy is not an array of numbers":                          {"x": array("[('a', 'u1')]", "2", count(60))},
		"y.npy has 2 labels, want one for each of 3 images":         {"x": array("|u1", "(3, 5, 6)", count(90)), "y": y},
		"y.npy is float64, want integers from 0 to 255":             {"x": x, "y": array("<f8", "(2,)", count(16))},
		"y.npy has the shape (2, 10), as one-hot labels do":         {"x": x, "y": array("|u1", "(2, 10)", count(20))},
		"label 2 of":                 {"x": x, "y": array("<i2", "(2,)", []byte{1, 0, 0, 1})},
		"y.npy is -1, want 0 to 255": {"x": x, "y": array("|i1", "(2,)", []byte{1, 255})},
		"has labels, but none for x_test: want y_test":                      {"x_train": x, "y_train": y, "x_test": x},
		"has the labels y_test, but not the images x_test":                  {"x_train": x, "y_train": y, "y_test": y},
		"have 6 x 5 pixels and 1 channel, those for training 5 x 6":         {"x_train": x, "x_test": array("|u1", "(2, 6, 5)", count(60))},
		"are both x_train: keep one":                                        {"x_train": x, "train_images": x},
		"has the arrays pictures: want x_train, y_train, x_test and y_test": {"pictures": x},
		"want x_train, y_train, x_test and y_test, or x and y":              {"x": x, "x_test": x},
	} {
		path := t.TempDir() + "/set.npz"
		write(t, path, archive(t, files))
		if _, _, err := readAll(t, path, Options{}); !errors.Is(err, dataset.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want ErrInvalid: %s", err, want)
		}
	}
}

// TestZipBomb: an entry that decompresses to more than its archive or its array says is given up where that shows.
func TestZipBomb(t *testing.T) {
	path := t.TempDir() + "/set.npz"
	honest := archive(t, map[string][]byte{"x": array("|u1", "(2, 5, 6)", make([]byte, 1<<20))})
	write(t, path, honest)
	if _, _, err := readAll(t, path, Options{}); !errors.Is(err, dataset.ErrInvalid) || !strings.Contains(err.Error(), "announces 188 bytes") {
		t.Errorf("got %v, want ErrInvalid", err)
	}
	// The archive's directory says what the array says; the content is longer.
	var size [4]byte
	binary.LittleEndian.PutUint32(size[:], 128+1<<20)
	lying := bytes.ReplaceAll(honest, size[:], []byte{188, 0, 0, 0})
	write(t, path, lying)
	if _, _, err := readAll(t, path, Options{}); err == nil || bytes.Equal(lying, honest) {
		t.Errorf("a lying archive gave %v, want an error", err)
	}
	// A changed bit does not get past the archive's checksum.
	flipped := archiveBy(t, zip.Store, map[string][]byte{"x": array("|u1", "(2, 5, 6)", count(60))})
	i := bytes.Index(flipped, count(60))
	flipped[i] ^= 1
	write(t, path, flipped)
	if _, _, err := readAll(t, path, Options{}); err == nil {
		t.Error("a changed bit went unnoticed")
	}
}

// FuzzArrays: whatever an archive's arrays say, reading them ends in images of their size, or in an error.
func FuzzArrays(f *testing.F) {
	f.Add(array("|u1", "(2, 5, 6)", count(60)), array("<i2", "(2,)", []byte{1, 0, 2, 0}))
	f.Add(array("|u1", "(1, 5, 6, 2)", count(60)), array("|i1", "(1, 1)", []byte{1}))
	f.Add(array("|u1", "()", []byte{1}), array("|u1", "()", []byte{1}))
	f.Add([]byte(npyMagic+"\x02\x00\xff\xff\xff\xff"), []byte("{"))
	folder := f.TempDir()
	f.Fuzz(func(t *testing.T, x, y []byte) {
		write(t, folder+"/x.npy", x)
		write(t, folder+"/y.npy", y)
		got, _, err := readAll(t, folder, Options{})
		if err == nil && len(got.Train) != len(got.TrainLabels)*got.Height*got.Width*got.Channels {
			t.Errorf("%d bytes for %d images of %d x %d x %d", len(got.Train), len(got.TrainLabels), got.Channels, got.Height, got.Width)
		}
	})
}
