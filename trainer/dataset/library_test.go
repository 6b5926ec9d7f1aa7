//go:build !race

package dataset

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestFindFolder(t *testing.T) {
	want := newFixture(1)
	for _, test := range []struct {
		name  string
		write func(folder string)
	}{
		{"plain", func(folder string) { want.write(t, folder) }},
		{"gzipped", func(folder string) {
			for i, content := range want {
				writeFile(t, filepath.Join(folder, FileNames[i]+".gz"), gzipped(t, content))
			}
		}},
		{"mixed", func(folder string) {
			want.write(t, folder)
			if err := os.Remove(filepath.Join(folder, FileNames[2])); err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(folder, FileNames[2]+".gz"), gzipped(t, want[2]))
		}},
		{"gzipped without the name, and named without being gzipped", func(folder string) {
			for i, content := range want {
				if i%2 == 0 {
					writeFile(t, filepath.Join(folder, FileNames[i]), gzipped(t, content))
				} else {
					writeFile(t, filepath.Join(folder, FileNames[i]+".gz"), content)
				}
			}
		}},
		{"gzipped, with zeros behind", func(folder string) {
			for i, content := range want {
				writeFile(t, filepath.Join(folder, FileNames[i]+".gz"), append(gzipped(t, content), make([]byte, 1<<i*100)...))
			}
		}},
		{"gzipped in several members", func(folder string) {
			for i, content := range want {
				members := append(gzipped(t, content[:5]), gzipped(t, content[5:])...)
				writeFile(t, filepath.Join(folder, FileNames[i]+".gz"), members)
			}
		}},
		{"with a dot", func(folder string) {
			for i, content := range want {
				name := strings.Replace(FileNames[i], "-idx", ".idx", 1)
				if i == 2 {
					name, content = name+".gz", gzipped(t, content)
				}
				writeFile(t, filepath.Join(folder, name), content)
			}
		}},
		{"links to files elsewhere", func(folder string) {
			elsewhere := t.TempDir()
			want.write(t, elsewhere)
			if err := os.MkdirAll(folder, 0o755); err != nil {
				t.Fatal(err)
			}
			for _, name := range FileNames {
				link(t, filepath.Join(elsewhere, name), filepath.Join(folder, name))
			}
		}},
		{"a link to a folder elsewhere", func(folder string) {
			elsewhere := t.TempDir()
			want.write(t, elsewhere)
			link(t, elsewhere, folder)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			test.write(filepath.Join(dir, "tiny"))
			set, err := (&Library{Dir: dir}).Find(t.Context(), "tiny")
			if err != nil {
				t.Fatal(err)
			}
			if set.Name != "tiny" || set.Height != 3 || set.Width != 4 || set.TrainImages != 12 || set.TestImages != 5 ||
				set.Classes != want.classes() {
				t.Errorf("got %+v", set)
			}
			if set.Digest != Digest(want.files()) {
				t.Errorf("digest %s depends on how the files are kept", set.Digest)
			}
			for i, f := range set.Files {
				if f.Name != FileNames[i] || f.SHA256 != digestOf(want[i]) || f.Size != int64(len(want[i])) {
					t.Errorf("file %d is described as %+v", i, f)
				}
				content, err := set.Open(f.SHA256)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(content)
				if err := errors.Join(err, content.Close()); err != nil || !bytes.Equal(got, want[i]) {
					t.Errorf("%s: %d bytes, %v", f.Name, len(got), err)
				}
			}
			data, err := set.Load()
			if err != nil {
				t.Fatal(err)
			}
			want.checkData(t, data)
			if data.Name != "tiny" || data.Digest != set.Digest {
				t.Errorf("loaded %q, %s", data.Name, data.Digest)
			}
		})
	}
}

// TestUnlabeled: what no label file comes with is a data set too, with a digest of its own.
func TestUnlabeled(t *testing.T) {
	want := newFixture(1)
	dir := t.TempDir()
	want.write(t, filepath.Join(dir, "tiny"))
	for _, name := range []string{FileNames[1], FileNames[3]} {
		if err := os.Remove(filepath.Join(dir, "tiny", name)); err != nil {
			t.Fatal(err)
		}
	}
	set, err := (&Library{Dir: dir}).Find(t.Context(), "tiny")
	if err != nil {
		t.Fatal(err)
	}
	if digest := digestOf([]byte(digestOf(want[0]) + "\n" + digestOf(want[2]) + "\n")); set.Digest != digest {
		t.Errorf("digest %s, want %s", set.Digest, digest)
	}
	if set.Classes != 0 || len(set.Files) != 2 || set.Files[1].Name != FileNames[2] || set.TrainImages != 12 || set.TestImages != 5 {
		t.Errorf("got %+v", set)
	}
	check := func(set *Set) {
		t.Helper()
		data, err := set.Load()
		if err != nil {
			t.Fatal(err)
		}
		split, err := data.Split(8, 4)
		if err != nil {
			t.Fatal(err)
		}
		if !data.Unlabeled || !split.Unlabeled || split.Train.Len() != 8 || split.Validation.Len() != 4 || split.Test.Len() != 5 ||
			!bytes.Equal(data.Train.Pixels, want[0][16:]) || !bytes.Equal(data.Test.Pixels, want[2][16:]) {
			t.Errorf("loaded %+v", split)
		}
	}
	check(set)
	// A worker's cache takes it as well.
	from := want.source()
	cached, err := NewCache(t.TempDir()).Fetch(t.Context(), set.Digest, set.Files, from.download)
	if err != nil {
		t.Fatal(err)
	}
	check(cached)
}

// TestDigest holds the definition in doc.go to what a shell computes: see there.
func TestDigest(t *testing.T) {
	if got, want := Digest(mnistFiles()), digestOf([]byte(
		"ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db\n"+
			"65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5\n"+
			"0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7\n"+
			"ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2\n")); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestFindRefuses gives the library folders in which one thing is wrong. What spoil sets to nil is not written.
func TestFindRefuses(t *testing.T) {
	for _, test := range []struct {
		name    string
		spoil   func(t *testing.T, folder string, f *fixture)
		want    error
		message string
	}{
		{
			"truncated", func(_ *testing.T, _ string, f *fixture) { f[0] = f[0][:100] }, ErrInvalid,
			"train-images-idx3-ubyte: its header announces 160 bytes, it has 100",
		},
		{
			"longer than announced", func(_ *testing.T, _ string, f *fixture) { f[3] = append(f[3], 0) }, ErrInvalid,
			"t10k-labels-idx1-ubyte: its header announces 13 bytes, it has more",
		},
		{
			"wrong magic", func(_ *testing.T, _ string, f *fixture) { f[2][3] = 1 }, ErrInvalid,
			"t10k-images-idx3-ubyte: it is no IDX file of images: it holds labels (one dimension): are the files",
		},
		{
			"empty", func(_ *testing.T, _ string, f *fixture) { f[1] = []byte{} }, ErrInvalid,
			"train-labels-idx1-ubyte: the file is empty",
		},
		{
			"counts differ", func(_ *testing.T, _ string, f *fixture) { f[1] = labelsFile(1, 11) }, ErrInvalid,
			"has 12 images, but",
		},
		{
			"label files swapped", func(_ *testing.T, _ string, f *fixture) { f[1], f[3] = f[3], f[1] }, ErrInvalid,
			"train-labels-idx1-ubyte has 5 labels",
		},
		{
			"image and label files swapped", func(_ *testing.T, _ string, f *fixture) { f[0], f[1] = f[1], f[0] }, ErrInvalid,
			"train-images-idx3-ubyte: it is no IDX file of images: it holds labels",
		},
		{
			"sizes of images differ", func(_ *testing.T, _ string, f *fixture) { f[2] = imagesFile(1, 5, 4, 3) }, ErrInvalid,
			"have 3 x 4 pixels",
		},
		{"larger than the cap", func(_ *testing.T, _ string, f *fixture) {
			f[0], f[1] = imagesFile(1, 1000, 3, 4), labelsFile(1, 1000)
		}, ErrTooLarge, "beyond 10000 bytes together"},
		{"announces more than the cap", func(_ *testing.T, _ string, f *fixture) {
			f[0], f[1] = words(imagesMagic, 0xffffffff, 3, 4), words(labelsMagic, 0xffffffff)
		}, ErrTooLarge, "beyond 10000 bytes together"},
		{"gzip that is none", func(t *testing.T, folder string, f *fixture) {
			writeFile(t, filepath.Join(folder, FileNames[0]+".gz"), []byte{gzipMagic0, gzipMagic1, 'n', 'o', 'n', 'e', 0, 0, 0, 0, 0, 0})
			f[0] = nil
		}, ErrInvalid, "gzip: invalid header"},
		{"gzip with something behind its zeros", func(t *testing.T, _ string, f *fixture) {
			f[0] = append(gzipped(t, f[0]), 0, 0, 1)
		}, ErrInvalid, "that is not zeros follows the end"},
		{"gzip with something behind", func(t *testing.T, _ string, f *fixture) {
			f[0] = append(gzipped(t, f[0]), "something"...)
		}, ErrInvalid, "that is not zeros follows the end"},
		{"a web page", func(_ *testing.T, _ string, f *fixture) {
			f[1] = []byte("\n<!DOCTYPE html><title>403</title>")
		}, ErrInvalid, "train-labels-idx1-ubyte: it is no IDX file of labels: it is a web page"},
		{"color images", func(_ *testing.T, _ string, f *fixture) {
			f[0] = append(words(0x0804, 12, 3, 4, 3), make([]byte, 12*3*4*3)...)
		}, ErrInvalid, "it holds color images (four dimensions): convert them to gray ones"},
		{"labels for the test images alone", func(_ *testing.T, _ string, f *fixture) {
			f[1] = nil
		}, ErrInvalid, "neither train-labels-idx1-ubyte nor train-labels.idx1-ubyte"},
		{"gzip cut off", func(t *testing.T, folder string, f *fixture) {
			z := gzipped(t, f[0])
			writeFile(t, filepath.Join(folder, FileNames[0]+".gz"), z[:len(z)-20])
			f[0] = nil
		}, ErrInvalid, "unexpected EOF"},
		{"gzip damaged", func(t *testing.T, folder string, f *fixture) {
			z := gzipped(t, f[0])
			z[len(z)-5] ^= 1 // In the checksum.
			writeFile(t, filepath.Join(folder, FileNames[0]+".gz"), z)
			f[0] = nil
		}, ErrInvalid, "invalid checksum"},
		{
			"file missing", func(_ *testing.T, _ string, f *fixture) { f[3] = nil }, ErrInvalid,
			"neither t10k-labels-idx1-ubyte nor t10k-labels.idx1-ubyte, with or without .gz, is in",
		},
		{"a link to nowhere", func(t *testing.T, folder string, f *fixture) {
			link(t, filepath.Join(t.TempDir(), "file"), filepath.Join(folder, FileNames[0]))
			f[0] = nil
		}, ErrInvalid, FileNames[0] + " is a link that leads nowhere"},
		{"a link to a device", func(t *testing.T, folder string, f *fixture) {
			link(t, "/dev/zero", filepath.Join(folder, FileNames[0]))
			f[0] = nil
		}, ErrInvalid, "not a regular file"},
		{"a folder in place of a file", func(t *testing.T, folder string, f *fixture) {
			if err := os.MkdirAll(filepath.Join(folder, FileNames[0]), 0o755); err != nil {
				t.Fatal(err)
			}
			f[0] = nil
		}, ErrInvalid, "not a regular file"},
		{"a pipe in place of a file", func(t *testing.T, folder string, f *fixture) {
			if err := syscall.Mkfifo(filepath.Join(folder, FileNames[0]), 0o644); err != nil {
				t.Fatal(err)
			}
			f[0] = nil
		}, ErrInvalid, "not a regular file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			folder := filepath.Join(dir, "tiny")
			if err := os.Mkdir(folder, 0o755); err != nil {
				t.Fatal(err)
			}
			f := newFixture(1)
			test.spoil(t, folder, &f)
			for i, content := range f {
				if content != nil {
					writeFile(t, filepath.Join(folder, FileNames[i]), content)
				}
			}
			_, err := (&Library{Dir: dir, MaxBytes: 10_000}).Find(t.Context(), "tiny")
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.message) {
				t.Errorf("got %v; want %v with %q", err, test.want, test.message)
			}
		})
	}
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

// TestBomb: some kilobytes that decompress to 64 MB behind an honest-looking header.
func TestBomb(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	if _, err := z.Write(newFixture(1)[0]); err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range 64 {
		if _, err := z.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	newFixture(1).write(t, filepath.Join(dir, "tiny"))
	if err := os.Remove(filepath.Join(dir, "tiny", FileNames[0])); err != nil {
		t.Fatal(err)
	}
	// Its end is damaged: whoever gets that far says so.
	writeFile(t, filepath.Join(dir, "tiny", FileNames[0]+".gz"), bomb.Bytes()[:bomb.Len()-20])

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := (&Library{Dir: dir}).Find(t.Context(), "tiny")
	runtime.ReadMemStats(&after)
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "announces 160 bytes, it has more") {
		t.Errorf("got %v", err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
		t.Errorf("refusing the bomb took %d bytes of memory", used)
	}
}

func TestFindUnknown(t *testing.T) {
	dir := t.TempDir()
	newFixture(1).write(t, filepath.Join(dir, "tiny"))
	newFixture(1).write(t, filepath.Join(filepath.Dir(dir), "outside"))
	for _, test := range []struct{ name, message string }{
		{"fashion", "there is mnist, tiny"},
		{"", "a name consists of"},
		{".", "a name consists of"},
		{"..", "a name consists of"},
		{"../outside", "a name consists of"},
		{"tiny/../tiny", "a name consists of"},
		{"/etc", "a name consists of"},
		{`..\outside`, "a name consists of"},
		{"tiny\x00", "a name consists of"},
		{strings.Repeat("x", 256), "a name consists of"},
	} {
		_, err := (&Library{Dir: dir}).Find(t.Context(), test.name)
		if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), test.message) {
			t.Errorf("%q: got %v; want ErrUnknown with %q", test.name, err, test.message)
		}
	}
	_, err := new(Library).Find(t.Context(), "tiny")
	if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "there is mnist") {
		t.Errorf("without a folder: %v", err)
	}
	// What is there and can't be used is named with the reason, and a folder that is a data set itself too.
	writeFile(t, filepath.Join(dir, "half", FileNames[0]), newFixture(1)[0])
	// Of a download that failed at its first file, nothing else is there.
	writeFile(t, filepath.Join(dir, "web", FileNames[0]), []byte("<html>"))
	newFixture(1).write(t, dir)
	_, err = (&Library{Dir: dir}).Find(t.Context(), "fashion")
	for _, want := range []string{
		"there is mnist, tiny; half can't be used: neither t10k-images-idx3-ubyte nor ", "web can't be used: read ",
		"it is a web page", "the files in " + dir + " itself have no name",
	} {
		if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want ErrUnknown with %q", err, want)
		}
	}
}

func TestAvailable(t *testing.T) {
	dir := t.TempDir()
	newFixture(1).write(t, filepath.Join(dir, "tiny"))
	newFixture(1).write(t, filepath.Join(dir, "another"))
	newFixture(1).write(t, filepath.Join(dir, "mnist"))
	newFixture(1).write(t, filepath.Join(dir, ".hidden"))
	writeFile(t, filepath.Join(dir, "incomplete", FileNames[0]), nil)
	writeFile(t, filepath.Join(dir, "file"), nil)
	short := newFixture(1)
	short[0] = short[0][:100]
	short.write(t, filepath.Join(dir, "truncated"))
	link(t, filepath.Join(dir, "tiny"), filepath.Join(dir, "linked"))
	for _, test := range []struct {
		name string
		dir  string
		// want has a question mark behind what can't be used.
		want string
	}{
		{"folders", dir, "another incomplete? linked mnist tiny truncated?"},
		{"no folder", "", "mnist"},
		{"a folder that is not there", filepath.Join(dir, "nowhere"), "mnist"},
	} {
		folders, err := (&Library{Dir: test.dir}).Available()
		var got []string
		for _, folder := range folders {
			name := folder.Name
			if folder.Err != nil {
				name += "?"
			}
			got = append(got, name)
		}
		if err != nil || strings.Join(got, " ") != test.want {
			t.Errorf("%s: got %q, %v; want %q", test.name, got, err, test.want)
		}
	}
	if _, err := (&Library{Dir: filepath.Join(dir, "file")}).Available(); err == nil {
		t.Error("a file in place of the folder went unnoticed")
	}
}

// TestFileChangesAfterFind: a set was verified when it was found, and is again whenever it is read.
func TestFileChangesAfterFind(t *testing.T) {
	for _, test := range []struct {
		name    string
		change  func(content []byte) []byte
		message string
	}{
		{"altered", func(c []byte) []byte { c[100] ^= 1; return c }, "this content has "},
		{"truncated", func(c []byte) []byte { return c[:100] }, "has 160 bytes, this content ends after 100"},
		{"extended", func(c []byte) []byte { return append(c, 0) }, "has 160 bytes, this content has more"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			f := newFixture(1)
			f.write(t, filepath.Join(dir, "tiny"))
			set, err := (&Library{Dir: dir}).Find(t.Context(), "tiny")
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(dir, "tiny", FileNames[0]), test.change(slices.Clone(f[0])))
			_, err = set.Load()
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), test.message) {
				t.Errorf("loading gave %v", err)
			}
			content, err := set.Open(digestOf(f[0]))
			if err != nil {
				t.Fatal(err)
			}
			defer content.Close()
			if n, err := io.Copy(io.Discard, content); !errors.Is(err, ErrInvalid) || n > 160 {
				t.Errorf("reading gave %d bytes and %v", n, err)
			}
		})
	}
}

func TestOpenUnknownFile(t *testing.T) {
	dir := t.TempDir()
	newFixture(1).write(t, filepath.Join(dir, "tiny"))
	set, err := (&Library{Dir: dir}).Find(t.Context(), "tiny")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "../tiny", FileNames[0], digestOf(nil)} {
		if _, err := set.Open(name); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: got %v", name, err)
		}
	}
}
