//go:build !race

package dataset

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// imported imports a folder of IDX files into a new library.
func imported(t testing.TB, name string, write func(folder string)) (*Library, *Manifest) {
	t.Helper()
	from, l := t.TempDir(), &Library{Dir: filepath.Join(t.TempDir(), "sets")}
	write(from)
	source, err := OpenIDX(from)
	if err != nil {
		t.Fatal(err)
	}
	m, err := l.Import(t.Context(), name, source, DefaultTestEvery)
	if err != nil {
		t.Fatal(err)
	}
	return l, m
}

// TestImport: what is imported is the same data set as the files that it came from, so that runs are shared.
func TestImport(t *testing.T) {
	f := newFixture(1)
	l, m := imported(t, "tiny", func(folder string) {
		for i, content := range f {
			writeFile(t, filepath.Join(folder, FileNames[i]+".gz"), gzipped(t, content))
		}
	})
	set, err := l.Find(t.Context(), "tiny")
	if err != nil {
		t.Fatal(err)
	}
	if want := Digest(f.files()); set.Digest != want || m.Digest != want || set.Imported.Digest != want || set.Channels != 1 {
		t.Errorf("digests %s and %s, %d channels; want %s and one", set.Digest, m.Digest, set.Channels, want)
	}
	data, err := set.Load()
	if err != nil {
		t.Fatal(err)
	}
	f.checkData(t, data)
	got, want := m.Statistics, surveyOf(t, set)
	if got.Train.Images != 12 || got.Test.Images != 5 || !slices.Equal(got.Train.Classes, want.Train.Classes) ||
		!slices.Equal(got.Channels, want.Channels) || got.Channels[0].Maximum != int(slices.Max(append(f[0][16:], f[2][16:]...))) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, err := l.Import(t.Context(), "tiny", nil, 2); !errors.Is(err, ErrExists) {
		t.Errorf("importing it again gave %v, want ErrExists", err)
	}
	folders, err := l.Available()
	if err != nil || len(folders) != 2 || folders[1].Name != "tiny" || folders[1].Err != nil || folders[1].Imported == nil {
		t.Errorf("got %+v, %v; want mnist, and tiny that was imported", folders, err)
	}
}

func surveyOf(t *testing.T, set *Set) Statistics {
	t.Helper()
	s, err := set.Survey(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// colored writes the fixture's files with three channels and so many rows.
func colored(t testing.TB, height int) func(string) {
	return func(folder string) {
		for i, count := range []int{12, 5} {
			images := append(words(channelsMagic, count, 3, height, 4), noise(uint64(i), count*3*height*4)...)
			writeFile(t, filepath.Join(folder, fileNames(true, true)[2*i]), images)
			writeFile(t, filepath.Join(folder, fileNames(true, true)[2*i+1]), labelsFile(uint64(i), count))
		}
	}
}

// TestImportColored: several channels get from an import through the cache of a worker into memory.
func TestImportColored(t *testing.T) {
	l, _ := imported(t, "colored", colored(t, 5))
	set, err := l.Find(t.Context(), "colored")
	if err != nil {
		t.Fatal(err)
	}
	if set.Channels != 3 || set.Height != 5 || set.Width != 4 || set.Files[0].Name != "train-images-idx4-ubyte" {
		t.Errorf("got %d channels of %d x %d, %s", set.Channels, set.Height, set.Width, set.Files[0].Name)
	}
	files := slices.Clone(set.Files)
	for i := range files {
		files[i].place, files[i].blocks = "", nil
	}
	fetched, err := NewCache(t.TempDir()).Fetch(t.Context(), set.Digest, files, func(_ context.Context, f File, w io.Writer) error {
		content, err := set.Open(f.SHA256)
		if err != nil {
			return err
		}
		_, err = io.Copy(w, content)
		return errors.Join(err, content.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
	data, err := fetched.Load()
	if err != nil {
		t.Fatal(err)
	}
	if data.Channels != 3 || !bytes.Equal(data.Train.Pixels, noise(0, 12*3*5*4)) || data.Test.Len() != 5 {
		t.Errorf("%d channels, %d bytes, %d test images: they are not what was imported", data.Channels,
			len(data.Train.Pixels), data.Test.Len())
	}
	split, err := data.Split(4, 3)
	if err != nil || split.Channels != 3 || !bytes.Equal(split.Validation.Pixels, data.Train.Pixels[9*60:]) {
		t.Errorf("the last three images are not those to validate: %v", err)
	}
}

// TestDamagedImport: a bit that the disk has changed is found, wherever it is, and never handed out.
func TestDamagedImport(t *testing.T) {
	const height = 40_000 / 12 // Several blocks.
	l, _ := imported(t, "large", func(folder string) {
		writeFile(t, filepath.Join(folder, FileNames[0]), imagesFile(1, 300, height, 4))
		writeFile(t, filepath.Join(folder, FileNames[2]), imagesFile(2, 1, height, 4))
	})
	path := filepath.Join(l.Dir, "large", FileNames[0])
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	set, err := l.Find(t.Context(), "large")
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{16, blockSize - 1, blockSize, 2*blockSize + 5, len(content) - 1} {
		damaged := slices.Clone(content)
		damaged[at] ^= 0x10
		writeFile(t, path, damaged)
		r, err := set.Open(set.Files[0].SHA256)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		r.Close()
		if from := at / blockSize * blockSize; !errors.Is(err, ErrInvalid) || len(got) != from || !bytes.Equal(got, content[:from]) {
			t.Errorf("byte %d: %d bytes and %v, want the %d before its block and ErrInvalid", at, len(got), err, from)
		}
		if _, err := l.Find(t.Context(), "large"); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "is damaged on disk between bytes") {
			t.Errorf("byte %d: got %v, want ErrInvalid that says where", at, err)
		}
	}
	writeFile(t, path, content[:blockSize+7])
	if _, err := l.Find(t.Context(), "large"); !errors.Is(err, ErrInvalid) {
		t.Errorf("cut off: got %v, want ErrInvalid", err)
	}
}

// TestDamagedManifest: no changed bit of it goes unnoticed.
func TestDamagedManifest(t *testing.T) {
	l, _ := imported(t, "tiny", newFixture(1).writer(t))
	path := filepath.Join(l.Dir, "tiny", manifestName)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := range content {
		if bytes.IndexByte([]byte(" \n"), content[at]) >= 0 {
			continue // Nothing says anything by white space.
		}
		damaged := slices.Clone(content)
		damaged[at] ^= 1
		if m, err := parseManifest(damaged); !errors.Is(err, ErrInvalid) {
			t.Fatalf("byte %d, %q to %q: got %+v, %v; want ErrInvalid", at, content[at], damaged[at], m, err)
		}
	}
	writeFile(t, path, content[1:])
	if err := l.Remove("tiny"); err != nil {
		t.Errorf("a damaged data set can't be removed: %v", err)
	}
}

// writer is write as a function of the folder.
func (f fixture) writer(t testing.TB) func(string) { return func(folder string) { f.write(t, folder) } }

// TestImportEnds: an import that fails, or is interrupted, leaves nothing behind.
func TestImportEnds(t *testing.T) {
	failure := errors.New("disk on fire")
	ctx, cancel := context.WithCancelCause(t.Context())
	some := func(count int, end error) Part {
		return func(yield func([]byte, byte) error) error {
			for range count {
				if err := yield(make([]byte, 12), 0); err != nil {
					return err
				}
			}
			return end
		}
	}
	late, cancelLate := context.WithCancelCause(t.Context())
	for _, test := range []struct {
		name        string
		ctx         context.Context
		maxBytes    int64
		train, test Part
		want        error
	}{
		{"read", t.Context(), 0, some(3, failure), nil, failure},
		{"test", t.Context(), 0, some(3, nil), some(1, failure), failure},
		{"interrupted", ctx, 0, func(yield func([]byte, byte) error) error { cancel(failure); return some(3, nil)(yield) }, nil, failure},
		{"interrupted-at-the-end", late, 0, some(3, nil), func(yield func([]byte, byte) error) error {
			err := some(1, nil)(yield)
			cancelLate(failure)
			return err
		}, failure},
		{"none", t.Context(), 0, some(0, nil), nil, ErrInvalid},
		{"no-test", t.Context(), 0, some(2, nil), some(0, nil), ErrInvalid},
		{"too-few-to-put-aside", t.Context(), 0, some(2, nil), nil, ErrInvalid},
		{"large", t.Context(), 100, some(9, nil), nil, ErrTooLarge},
		{"../name", t.Context(), 0, some(9, nil), nil, ErrInvalid},
		{MNIST, t.Context(), 0, some(9, nil), nil, ErrInvalid},
	} {
		l := &Library{Dir: t.TempDir(), MaxBytes: test.maxBytes}
		source := &Source{Height: 3, Width: 4, Channels: 1, Train: test.train, Test: test.test}
		if _, err := l.Import(test.ctx, test.name, source, 3); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, err, test.want)
		}
		if entries, err := os.ReadDir(l.Dir); err != nil || len(entries) > 0 {
			t.Errorf("%s: it has left %v, %v", test.name, entries, err)
		}
	}
}

// TestTestEvery: without test images, each class gives its share.
func TestTestEvery(t *testing.T) {
	labels := []byte{0, 0, 1, 0, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 2}
	source := &Source{Height: 1, Width: 1, Channels: 1, Labeled: true, Train: func(yield func([]byte, byte) error) error {
		for i, label := range labels {
			if err := yield([]byte{byte(i)}, label); err != nil {
				return err
			}
		}
		return nil
	}}
	l := &Library{Dir: t.TempDir()}
	m, err := l.Import(t.Context(), "tiny", source, 3)
	if err != nil {
		t.Fatal(err)
	}
	set, err := l.Find(t.Context(), "tiny")
	if err != nil {
		t.Fatal(err)
	}
	data, err := set.Load()
	if err != nil {
		t.Fatal(err)
	}
	if want := []byte{3, 5, 8, 11, 14}; !bytes.Equal(data.Test.Pixels, want) || m.TestEvery != 3 {
		t.Errorf("test images %v, every %d; want %v, every third of its class", data.Test.Pixels, m.TestEvery, want)
	}
	if s := m.Statistics; !slices.Equal(s.Train.Classes, []int{4, 7, 1}) || !slices.Equal(s.Test.Classes, []int{2, 3, 0}) || s.Sorted {
		t.Errorf("got %+v", s)
	}
}

// TestRemoveOnlyWhatWasImported: what its owner has put there stays, and names are no paths.
func TestRemoveOnlyWhatWasImported(t *testing.T) {
	l, _ := imported(t, "tiny", newFixture(1).writer(t))
	newFixture(2).write(t, filepath.Join(l.Dir, "own"))
	if err := l.Remove("own"); !errors.Is(err, ErrNotImported) {
		t.Errorf("got %v, want ErrNotImported", err)
	}
	for _, name := range []string{"other", MNIST, "../sets/tiny", "", "."} {
		if err := l.Remove(name); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: got %v, want ErrUnknown", name, err)
		}
	}
	if err := l.Remove("tiny"); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(l.Dir); err != nil || len(entries) != 1 || entries[0].Name() != "own" {
		t.Errorf("left are %v, %v; want own", entries, err)
	}
}

// TestSweepImports: a folder of an import that was killed is removed a day later, and no other. One that can't be removed keeps no
// other from it.
func TestSweepImports(t *testing.T) {
	l := &Library{Dir: t.TempDir()}
	old := []string{importPrefix + "Old", importPrefix + "old", "set"}
	for _, name := range append(old, importPrefix+"new") {
		writeFile(t, filepath.Join(l.Dir, name, "file"), []byte("x"))
	}
	now := time.Now()
	for _, name := range old {
		if err := os.Chtimes(filepath.Join(l.Dir, name), now, now.Add(-2*temporaryAge)); err != nil {
			t.Fatal(err)
		}
	}
	failure := errors.New("not yours")
	if err := l.sweepImports(now, func(path string) error {
		if filepath.Base(path) == importPrefix+"Old" {
			return failure
		}
		return os.RemoveAll(path)
	}); !errors.Is(err, failure) {
		t.Errorf("got %v, want %v", err, failure)
	}
	entries, err := os.ReadDir(l.Dir)
	if err != nil || len(entries) != 3 || entries[0].Name() != importPrefix+"Old" || entries[1].Name() != importPrefix+"new" {
		t.Errorf("left are %v, %v; want Old, new and set", entries, err)
	}
}

// FuzzManifest: nothing that is in a manifest's place makes reading it fail otherwise than by an error, and what is read
// names files that a worker would accept.
func FuzzManifest(f *testing.F) {
	l, _ := imported(f, "tiny", newFixture(1).writer(f))
	content, err := os.ReadFile(filepath.Join(l.Dir, "tiny", manifestName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Add([]byte(`{"sha256": "", "manifest": {}}`))
	folder := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte) {
		writeFile(t, filepath.Join(folder, manifestName), content)
		m, files, err := locateImported(folder)
		if err != nil {
			return
		}
		if err := (&Cache{MaxBytes: 1 << 62}).check(m.Digest, files); err != nil {
			t.Error(err)
		}
	})
}
