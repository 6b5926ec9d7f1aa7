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
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			test.write(filepath.Join(dir, "tiny"))
			set, err := (&Library{Dir: dir}).Find(t.Context(), "tiny")
			if err != nil {
				t.Fatal(err)
			}
			if set.Name != "tiny" || set.Height != 3 || set.Width != 4 || set.TrainImages != 12 || set.TestImages != 5 {
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
			"t10k-images-idx3-ubyte: an IDX file of images starts with 0x00000803, this one with 0x00000801",
		},
		{
			"empty", func(_ *testing.T, _ string, f *fixture) { f[1] = []byte{} }, ErrInvalid,
			"train-labels-idx1-ubyte: the file ends before its 8-byte IDX header",
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
			"train-images-idx3-ubyte: an IDX file of images starts",
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
			writeFile(t, filepath.Join(folder, FileNames[0]+".gz"), f[0])
			f[0] = nil
		}, ErrInvalid, "gzip: invalid header"},
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
			"neither t10k-labels-idx1-ubyte nor t10k-labels-idx1-ubyte.gz is in",
		},
		{"link to outside", func(t *testing.T, folder string, f *fixture) {
			outside := filepath.Join(t.TempDir(), "file")
			writeFile(t, outside, f[0])
			link(t, outside, filepath.Join(folder, FileNames[0]))
			f[0] = nil
		}, nil, "escapes"},
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
	// Not even the operator's own links lead out.
	link(t, filepath.Join(filepath.Dir(dir), "outside"), filepath.Join(dir, "linked"))
	_, err = (&Library{Dir: dir}).Find(t.Context(), "linked")
	if err == nil || !strings.Contains(err.Error(), "escapes") {
		t.Errorf("a link out of the folder: %v", err)
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
	for _, test := range []struct {
		name string
		dir  string
		want []string
	}{
		{"folders", dir, []string{"another", "mnist", "tiny"}},
		{"no folder", "", []string{"mnist"}},
		{"a folder that is not there", filepath.Join(dir, "nowhere"), []string{"mnist"}},
	} {
		got, err := (&Library{Dir: test.dir}).Available()
		if err != nil || !slices.Equal(got, test.want) {
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
