package dataset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// source is a download function that counts.
type source struct {
	content map[string][]byte
	calls   atomic.Int32
}

func (f fixture) source() *source {
	s := &source{content: map[string][]byte{}}
	for i, file := range f.files() {
		s.content[file.SHA256] = f[i]
	}
	return s
}

func (s *source) download(_ context.Context, f File, w io.Writer) error {
	s.calls.Add(1)
	_, err := w.Write(s.content[f.SHA256])
	return err
}

func TestCache(t *testing.T) {
	want := newFixture(1)
	from := want.source()
	dir := filepath.Join(t.TempDir(), "made", "when", "needed")
	fetch := func() *Set {
		t.Helper()
		set, err := NewCache(dir).Fetch(t.Context(), Digest(want.files()), want.files(), from.download)
		if err != nil {
			t.Fatal(err)
		}
		data, err := set.Load()
		if err != nil {
			t.Fatal(err)
		}
		want.checkData(t, data)
		return set
	}
	if set := fetch(); set.Digest != Digest(want.files()) || set.TrainImages != 12 || from.calls.Load() != 4 {
		t.Errorf("fetched %+v in %d downloads; want 4", set, from.calls.Load())
	}
	if fetch(); from.calls.Load() != 4 {
		t.Errorf("a complete cache downloaded again")
	}
	for _, test := range []struct {
		name   string
		damage func(content []byte) []byte
	}{
		{"altered", func(c []byte) []byte { c[20] ^= 1; return c }},
		{"truncated", func(c []byte) []byte { return c[:30] }},
		{"extended", func(c []byte) []byte { return append(c, 0) }},
		{"empty", func([]byte) []byte { return nil }},
	} {
		from.calls.Store(0)
		writeFile(t, filepath.Join(dir, want.files()[2].SHA256), test.damage(slices.Clone(want[2])))
		if fetch(); from.calls.Load() != 1 {
			t.Errorf("%s: %d downloads; want that of the damaged file", test.name, from.calls.Load())
		}
	}
	// Another data set with the same test images: those are there already.
	from.calls.Store(0)
	other := newFixture(5)
	want[0], want[1] = other[0], other[1]
	from.content = want.source().content
	if fetch(); from.calls.Load() != 2 {
		t.Errorf("%d downloads; want 2, the two new files", from.calls.Load())
	}
	checkOnly(t, dir, 6)
}

// checkOnly wants a number of complete files in a folder, and nothing else.
func checkOnly(t *testing.T, dir string, want int) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != want {
		t.Errorf("the cache has %v, %v; want %d files", entries, err, want)
	}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil || digestOf(content) != entry.Name() {
			t.Errorf("%s: its content has another digest, or %v", entry.Name(), err)
		}
	}
}

func TestCacheRefusesDownloads(t *testing.T) {
	f := newFixture(1)
	failure := errors.New("connection lost")
	for _, test := range []struct {
		name     string
		download download
		want     error
		message  string
	}{
		{"altered", func(_ context.Context, _ File, w io.Writer) error {
			content := slices.Clone(f[0])
			content[50] ^= 1
			_, err := w.Write(content)
			return err
		}, ErrInvalid, "has SHA-256 " + digestOf(f[0]) + ", this content has "},
		{"truncated", func(_ context.Context, _ File, w io.Writer) error {
			_, err := w.Write(f[0][:50])
			return err
		}, ErrInvalid, "has 160 bytes, this content ends after 50"},
		{"nothing", func(context.Context, File, io.Writer) error { return nil }, ErrInvalid, "ends after 0"},
		{"much too long", func(_ context.Context, _ File, w io.Writer) error {
			for range 1000 {
				if _, err := w.Write(make([]byte, 1000)); err != nil {
					return err
				}
			}
			return nil
		}, ErrInvalid, "this content has more"},
		{"broken off", func(_ context.Context, _ File, w io.Writer) error {
			_, err := w.Write(f[0][:50])
			return errors.Join(err, failure)
		}, failure, "download train-images-idx3-ubyte"},
		{"another file", func(_ context.Context, _ File, w io.Writer) error {
			_, err := w.Write(imagesFile(9, 12, 3, 4))
			return err
		}, ErrInvalid, "this content has "},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := NewCache(dir).Fetch(t.Context(), Digest(f.files()), f.files(), test.download)
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.message) {
				t.Errorf("got %v; want %v with %q", err, test.want, test.message)
			}
			checkOnly(t, dir, 0)
		})
	}
}

func TestCacheRefusesRequests(t *testing.T) {
	for _, test := range []struct {
		name    string
		spoil   func(files []File) []File
		want    error
		message string
	}{
		{"a file too few", func(f []File) []File { return f[:3] }, ErrInvalid, "has 4 files, or 2 without labels, not 3"},
		{"no labels for the test images", func(f []File) []File { return []File{f[0], f[1]} }, ErrInvalid, "file 2 of a data set is " + FileNames[2]},
		{"a name that is a path", func(f []File) []File { f[1].Name = "../../passwd"; return f }, ErrInvalid, "file 2 of"},
		{"label files swapped", func(f []File) []File { f[1], f[3] = f[3], f[1]; return f }, ErrInvalid, "file 2 of"},
		{"a digest that is a path", func(f []File) []File { f[1].SHA256 = "../x"; return f }, ErrInvalid, `SHA-256 "../x"`},
		{"a digest in capitals", func(f []File) []File {
			f[1].SHA256 = strings.ToUpper(f[1].SHA256)
			return f
		}, ErrInvalid, "which is none"},
		{"no size", func(f []File) []File { f[0].Size = 0; return f }, ErrInvalid, "size of 0 bytes"},
		{"negative size", func(f []File) []File { f[0].Size = -1; return f }, ErrInvalid, "size of -1 bytes"},
		{
			"too large", func(f []File) []File { f[0].Size = 9_000; f[2].Size = 1_001; return f }, ErrTooLarge,
			"beyond 10000 bytes together",
		},
		{"sizes that overflow", func(f []File) []File {
			f[0].Size, f[2].Size = 1<<63-1, 1<<63-1
			return f
		}, ErrTooLarge, "beyond 10000 bytes together"},
		{
			"other files than the digest's", func(f []File) []File { f[0].SHA256 = digestOf(nil); return f }, ErrInvalid,
			"the digest of these files is",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := newFixture(1).files()
			digest := Digest(files)
			cache := NewCache(t.TempDir())
			cache.MaxBytes = 10_000
			_, err := cache.Fetch(t.Context(), digest, test.spoil(files), func(context.Context, File, io.Writer) error {
				t.Error("something was downloaded")
				return nil
			})
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.message) {
				t.Errorf("got %v; want %v with %q", err, test.want, test.message)
			}
		})
	}
}

// TestCacheChecksHeaders: files that are what was asked for need not be a data set.
func TestCacheChecksHeaders(t *testing.T) {
	f := newFixture(1)
	f[1] = labelsFile(1, 11)
	_, err := NewCache(t.TempDir()).Fetch(t.Context(), Digest(f.files()), f.files(), f.source().download)
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "11 labels") {
		t.Errorf("got %v", err)
	}
}

func TestCacheCanceled(t *testing.T) {
	f := newFixture(1)
	dir := t.TempDir()
	cache := NewCache(dir)
	ctx, cancel := context.WithCancel(t.Context())
	started := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		_, err := cache.Fetch(ctx, Digest(f.files()), f.files(), func(ctx context.Context, _ File, w io.Writer) error {
			_, err := w.Write(f[0][:10])
			close(started)
			<-ctx.Done()
			return errors.Join(err, ctx.Err())
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the downloading fetch ended with %v", err)
		}
	})
	<-started
	// Another one waits for its turn, and need not.
	impatient, give := context.WithCancel(t.Context())
	give()
	_, err := cache.Fetch(impatient, Digest(f.files()), f.files(), f.source().download)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the waiting fetch ended with %v", err)
	}
	cancel()
	group.Wait()
	checkOnly(t, dir, 0)
	if _, err := cache.Fetch(t.Context(), Digest(f.files()), f.files(), f.source().download); err != nil {
		t.Errorf("after the canceled one: %v", err)
	}
}

// TestCacheShared: the goroutines of one process download each file once; several processes, each with a Cache of its
// own, may download it more than once, and all get it.
func TestCacheShared(t *testing.T) {
	f := newFixture(1)
	for _, test := range []struct {
		name      string
		processes int
		most      int32
	}{{"one process", 1, 4}, {"three processes", 3, 12}} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			from := f.source()
			var group sync.WaitGroup
			for range test.processes {
				cache := NewCache(dir)
				for range 8 {
					group.Go(func() {
						set, err := cache.Fetch(t.Context(), Digest(f.files()), f.files(), from.download)
						if err != nil {
							t.Error(err)
							return
						}
						if _, err := set.Load(); err != nil {
							t.Error(err)
						}
					})
				}
			}
			group.Wait()
			if n := from.calls.Load(); n < 4 || n > test.most {
				t.Errorf("%d downloads; want 4 to %d", n, test.most)
			}
			checkOnly(t, dir, 4)
		})
	}
}

// TestCacheSweeps: downloads that a killed process left behind go after a day.
func TestCacheSweeps(t *testing.T) {
	f := newFixture(1)
	dir := t.TempDir()
	for i, age := range []time.Duration{0, temporaryAge - time.Hour, temporaryAge + time.Hour} {
		path := filepath.Join(dir, fmt.Sprintf("%s%d", temporaryPrefix, i))
		writeFile(t, path, nil)
		then := time.Now().Add(-age)
		if err := os.Chtimes(path, then, then); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := NewCache(dir).Fetch(t.Context(), Digest(f.files()), f.files(), f.source().download); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, true, false} {
		_, err := os.Stat(filepath.Join(dir, fmt.Sprintf("%s%d", temporaryPrefix, i)))
		if got := err == nil; got != want {
			t.Errorf("download %d still there: %t, want %t", i, got, want)
		}
	}
}

func TestCacheCheck(t *testing.T) {
	dir := t.TempDir()
	if err := NewCache(filepath.Join(dir, "made", "here")).Check(); err != nil {
		t.Errorf("a folder that can be made: %v", err)
	}
	checkOnly(t, filepath.Join(dir, "made", "here"), 0)
	file := filepath.Join(dir, "file")
	writeFile(t, file, nil)
	for _, wrong := range []string{file, filepath.Join(file, "below"), ""} {
		if err := NewCache(wrong).Check(); err == nil {
			t.Errorf("%q is no folder, and passed", wrong)
		}
	}
}

// TestCacheWithoutRoom: what does not fit is not begun, and the error is the disk's.
func TestCacheWithoutRoom(t *testing.T) {
	f := newFixture(1)
	total := int64(len(f[0]) + len(f[1]) + len(f[2]) + len(f[3]))
	kept := freeBytes
	defer func() { freeBytes = kept }()
	for _, test := range []struct {
		name string
		free uint64
		err  error
		fits bool
	}{
		{"too little", uint64(total) - 1, nil, false},
		{"just enough", uint64(total), nil, true},
		{"nothing, and nothing missing", 0, nil, true},
		{"not known", 0, errors.ErrUnsupported, true},
	} {
		freeBytes = func(string) (uint64, error) { return test.free, test.err }
		dir := t.TempDir()
		from := f.source()
		if strings.Contains(test.name, "nothing missing") {
			for i, file := range f.files() {
				writeFile(t, filepath.Join(dir, file.SHA256), f[i])
			}
		}
		_, err := NewCache(dir).Fetch(t.Context(), Digest(f.files()), f.files(), from.download)
		var path *fs.PathError
		if (err == nil) != test.fits || err != nil && (!errors.Is(err, syscall.ENOSPC) || !errors.As(err, &path)) {
			t.Errorf("%s: got %v, want it to fit: %t", test.name, err, test.fits)
		}
		if err != nil && (from.calls.Load() > 0 || !strings.Contains(err.Error(), fmt.Sprintf("%d bytes are needed and %d are free", total, test.free))) {
			t.Errorf("%s: %d downloads, %v", test.name, from.calls.Load(), err)
		}
	}
}
