//go:build unix

package files

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

func TestFilesAreFetchedOnce(t *testing.T) {
	var fetched atomic.Int32
	fail := errors.New("cut off")
	var broken atomic.Bool
	cache := NewCache(t.TempDir(), func(_ context.Context, _ *trellisv1.Files, to *os.File, _ func()) error {
		fetched.Add(1)
		if _, err := to.WriteString("12345"); err != nil {
			return err
		}
		if broken.Load() {
			return fail
		}
		return nil
	})
	// The digest of 12345.
	const digest = "5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5"
	files := &trellisv1.Files{Sha256: digest, Size: 5}
	broken.Store(true)
	if _, _, err := cache.Get(t.Context(), files, func() {}); !errors.Is(err, fail) {
		t.Fatalf("got %v", err)
	}
	broken.Store(false)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			path, release, err := cache.Get(t.Context(), files, func() {})
			if err != nil {
				t.Error(err)
				return
			}
			defer release()
			if content, err := os.ReadFile(path); err != nil || string(content) != "12345" {
				t.Errorf("it is %q, %v", content, err)
			}
		})
	}
	group.Wait()
	if n := fetched.Load(); n != 2 {
		t.Errorf("fetched %d times, want once after the failure", n)
	}
	left, err := os.ReadDir(cache.dir)
	if err != nil || len(left) != 1 {
		t.Errorf("the folder has %v, %v", left, err)
	}
	// A file that a full disk has cut short is fetched again, and so is one that a program has changed.
	for i, content := range []string{"123", "12346"} {
		if err := os.WriteFile(filepath.Join(cache.dir, digest), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		path, release, err := cache.Get(t.Context(), files, func() {})
		if err != nil || fetched.Load() != int32(3+i) {
			t.Fatalf("got %v after %d fetches", err, fetched.Load())
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != "12345" {
			t.Errorf("instead of %s it is %q, %v", content, got, err)
		}
		release()
	}
}

// Workers that share a folder keep to one bound, and remove nothing that another of them uses. What is too much when it is
// not used any more goes then, or when the next worker starts.
func TestOldFilesMakeRoom(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, folder)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	put := func(name string, age time.Duration) string {
		path := filepath.Join(dir, name)
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		// Sparse: they take no room.
		if err := errors.Join(file.Truncate(maxBytes/2), file.Close()); err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(-age)
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
		return path
	}
	mustHave := func(when string, want ...string) {
		t.Helper()
		left, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, entry := range left {
			names = append(names, entry.Name())
		}
		if !slices.Equal(names, want) {
			t.Errorf("%s, left are %v, want %v", when, names, want)
		}
	}
	first, second := NewCache(parent, nil), NewCache(parent, nil)
	used := hold(put("used", 3*time.Hour))
	put("old", 2*time.Hour)
	put("new", time.Hour)
	put(temporaryPrefix+"left", time.Minute)
	downloading, err := createTemporary(dir)
	if err != nil {
		t.Fatal(err)
	}
	under := filepath.Base(downloading.Name())
	if err := second.sweep(); err != nil {
		t.Fatal(err)
	}
	mustHave("while one is used", under, "new", "used")
	alsoUsed := hold(filepath.Join(dir, "new"))
	put("newest", 0)
	if err := first.sweep(); err != nil {
		t.Fatal(err)
	}
	mustHave("while two are used", under, "new", "used")
	put("newest", 0)
	for _, file := range []*os.File{used, alsoUsed, downloading} {
		file.Close()
	}
	NewCache(parent, nil)
	mustHave("after a restart", "new", "newest")
}

// What was kept only because it was in use goes when it is not.
func TestReleasedFilesMakeRoom(t *testing.T) {
	parent := t.TempDir()
	cache := NewCache(parent, func(_ context.Context, files *trellisv1.Files, to *os.File, _ func()) error {
		return to.Truncate(int64(files.GetSize()))
	})
	_, release, err := cache.Get(t.Context(), &trellisv1.Files{Sha256: "one", Size: 3 * maxBytes / 4}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	other, releaseOther, err := NewCache(parent, cache.fetch).Get(t.Context(),
		&trellisv1.Files{Sha256: "other", Size: maxBytes / 2}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer releaseOther()
	release()
	if left, err := os.ReadDir(cache.dir); err != nil || len(left) != 1 || left[0].Name() != filepath.Base(other) {
		t.Errorf("left are %v, %v", left, err)
	}
}

// A pipe or a folder in the place of a file is not waited for.
func TestFilesThatWereReplaced(t *testing.T) {
	cache := NewCache(t.TempDir(), func(_ context.Context, _ *trellisv1.Files, to *os.File, _ func()) error {
		_, err := to.WriteString("12345")
		return err
	})
	const digest = "5994471abb01112afcc18159f6cc74b4f511b99806da59b3caf5a9c173cacfc5"
	path := filepath.Join(cache.dir, digest)
	for name, replace := range map[string]func() error{
		"pipe":   func() error { return syscall.Mkfifo(path, 0o600) },
		"folder": func() error { return os.MkdirAll(filepath.Join(path, "a"), 0o700) },
		"link":   func() error { return os.Symlink("/dev/zero", path) },
	} {
		if err := errors.Join(os.RemoveAll(path), os.MkdirAll(cache.dir, 0o700), replace()); err != nil {
			t.Fatal(err)
		}
		got, release, err := cache.Get(t.Context(), &trellisv1.Files{Sha256: digest, Size: 5}, func() {})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		release()
		if content, err := os.ReadFile(got); err != nil || string(content) != "12345" {
			t.Errorf("%s: it is %q, %v", name, content, err)
		}
	}
}
