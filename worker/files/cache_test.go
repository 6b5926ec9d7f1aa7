package files

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
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

func TestOldFilesMakeRoom(t *testing.T) {
	cache := NewCache(t.TempDir(), nil)
	if err := os.MkdirAll(cache.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for i, name := range []string{"used", "old", "new", temporaryPrefix + "left"} {
		path := filepath.Join(cache.dir, name)
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		// Sparse: they take no room.
		if err := errors.Join(file.Truncate(maxBytes/2), file.Close()); err != nil {
			t.Fatal(err)
		}
		old := now.Add(time.Duration(i-10) * 24 * time.Hour)
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	cache.use("used", 1)
	if err := cache.sweep(now); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(cache.dir)
	if err != nil || len(left) != 2 || left[0].Name() != "new" || left[1].Name() != "used" {
		t.Errorf("left are %v, %v", left, err)
	}
}
