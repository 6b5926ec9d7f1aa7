package artifact

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func openTestFolder(t *testing.T, path string) (*Store, *folder) {
	t.Helper()
	folder, err := openFolder(path)
	if err != nil {
		t.Fatal(err)
	}
	return closeAfter(t, &Store{folder}), folder
}

// files returns the paths of all files under a folder.
func files(t *testing.T, folder string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestFolderAndItsURLAreTheSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "not", "yet", "there")
	content := []byte("content")
	mustPut(t, openTest(t, path), content)
	wantContent(t, openTest(t, "file://"+path), content)
	found := files(t, path)
	if len(found) != 1 {
		t.Fatalf("files %v", found)
	}
	name, _ := filepath.Rel(path, found[0])
	if artifact, ours := parseKey(filepath.ToSlash(name)); !ours || artifact.SHA256 != digestOf(content) {
		t.Errorf("the file is %s", name)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for location, want := range map[string]string{
		"":                        "empty location",
		file:                      "file",
		filepath.Join(file, "x"):  "not a directory",
		"file://relative":         "three slashes",
		"file:///x?create_dir=1":  "three slashes",
		"ftp://host/x":            `unknown scheme "ftp"`,
		"gs://bucket":             "-tags gcs",
		"http://user:secret@host": "user:xxxxx@host",
	} {
		if hasGCS && strings.HasPrefix(location, "gs:") {
			continue
		}
		store, err := Open(t.Context(), location)
		if err == nil {
			_ = store.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("Open(%q): %v, want an error with %q", location, err, want)
		}
	}
}

// The bytes of an artifact change on disk: no reader takes them for the artifact.
func TestCorruptionIsNoticed(t *testing.T) {
	for name, spoil := range map[string]func([]byte) []byte{
		"one bit":        func(content []byte) []byte { content[len(content)/2] ^= 1; return content },
		"cut short":      func(content []byte) []byte { return content[:len(content)-1] },
		"something more": func(content []byte) []byte { return append(content, 0) },
		"empty":          func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir()
			store, _ := openTestFolder(t, path)
			digest := mustPut(t, store, noise(1, 1<<20))
			file := files(t, path)[0]
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, spoil(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := read(t, store, digest); !errors.Is(err, ErrCorrupt) {
				t.Errorf("read: %v, want ErrCorrupt", err)
			}
		})
	}
}

// An error of any step leaves nothing behind, and the next Put succeeds.
func TestErrorOfEachStepLeavesNothing(t *testing.T) {
	var steps []string
	_, counted := openTestFolder(t, t.TempDir())
	counted.step = func(step string, do func() error) error { steps = append(steps, step); return do() }
	mustPut(t, &Store{counted}, noise(1, 2*writeBytes))
	// In this order nothing can be found that is not on disk, and nothing is acknowledged that a crash takes away.
	want := []string{"create", "write", "write", "sync", "make folder", "sync parent", "rename", "sync folder"}
	if !slices.Equal(steps, want) {
		t.Fatalf("the steps of Put are %v, want %v", steps, want)
	}
	for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO} {
		for at, step := range steps {
			t.Run(fmt.Sprintf("%v at %d %s", cause, at, step), func(t *testing.T) {
				path := t.TempDir()
				store, folder := openTestFolder(t, path)
				n := 0
				folder.step = func(_ string, do func() error) error {
					if n++; n == at+1 {
						return cause
					}
					return do()
				}
				_, _, err := store.Put(t.Context(), bytes.NewReader(noise(1, 2*writeBytes)), 1<<30)
				if !errors.Is(err, cause) {
					t.Errorf("Put: %v", err)
				}
				full := !errors.Is(cause, syscall.EIO)
				if full != errors.Is(err, ErrNoSpace) || full != strings.Contains(fmt.Sprint(err), "make room") {
					t.Errorf("Put: %v", err)
				}
				if left := files(t, path); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
				mustPut(t, store, noise(1, 1<<20))
			})
		}
	}
}

// A nearly full disk takes no more artifacts: the log needs the rest.
func TestRoomIsKeptForTheLog(t *testing.T) {
	path := t.TempDir()
	store, folder := openTestFolder(t, path)
	const size = 100 << 20
	content := noise(1, 1<<20)
	folder.space = func(*os.Root) (uint64, uint64, error) { return reserve(size) + writeBytes - 1, size, nil }
	_, _, err := store.Put(t.Context(), bytes.NewReader(content), 1<<30)
	if !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "--artifacts") ||
		!strings.Contains(err.Error(), path) {
		t.Errorf("Put on a nearly full disk: %v", err)
	}
	if left := files(t, path); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	folder.space = func(*os.Root) (uint64, uint64, error) { return reserve(size) + writeBytes, size, nil }
	mustPut(t, store, content)
	if reserve(math.MaxUint64) != maxReserve {
		t.Error("the reserve has no limit")
	}
	free, total, err := space(folder.root)
	if err != nil || free == 0 || total < free {
		t.Errorf("%d bytes of %d are free, %v", free, total, err)
	}
}

// What is still being written is not taken for a leftover by another process that opens the folder, and can't be
// listed.
func TestOpeningASharedFolderLeavesUploadsAlone(t *testing.T) {
	path := t.TempDir()
	store, _ := openTestFolder(t, path)
	content := noise(1, 1<<20)
	opened := false
	slow := bytes.NewReader(content)
	_, _, err := store.Put(t.Context(), readerFunc(func(p []byte) (int, error) {
		n, err := slow.Read(p)
		if slow.Len() == 0 && !opened {
			opened = true
			other, _ := openTestFolder(t, path)
			if found := list(t, other); len(found) != 0 {
				t.Errorf("listed before all of it was there: %v", found)
			}
		}
		return n, err
	}), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	wantContent(t, store, content)
}

func TestLeftoversGoAndStrangersStay(t *testing.T) {
	path := t.TempDir()
	store, _ := openTestFolder(t, path)
	digest := mustPut(t, store, []byte("content"))
	strangers := []string{
		"README", filepath.Join(digest[:2], "notes"), filepath.Join(digest[:2], digest),
		filepath.Join("zz", digest+"-0123456789abcdef"),
	}
	leftover := filepath.Join(incomingFolder, "0123456789abcdef")
	if err := os.Mkdir(filepath.Join(path, "zz"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(strangers, leftover) {
		if err := os.WriteFile(filepath.Join(path, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again, _ := openTestFolder(t, path)
	if n := len(list(t, again)); n != 1 {
		t.Errorf("%d artifacts, want 1", n)
	}
	left := files(t, path)
	if len(left) != 1+len(strangers) {
		t.Errorf("files %v", left)
	}
	if slices.Contains(left, filepath.Join(path, leftover)) {
		t.Error("the leftover stayed")
	}
}

// A link that leads out of the folder is not followed.
func TestLinksLeadNowhere(t *testing.T) {
	path, outside := t.TempDir(), t.TempDir()
	content := []byte("content")
	digest := digestOf(content)
	if err := os.WriteFile(filepath.Join(outside, digest+"-0123456789abcdef"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	store, _ := openTestFolder(t, path)
	if err := os.Symlink(outside, filepath.Join(path, digest[:2])); err != nil {
		t.Skip(err)
	}
	if _, err := read(t, store, digest); err == nil {
		t.Error("read a file outside of the folder")
	}
	if _, _, err := store.Put(t.Context(), bytes.NewReader(content), 100); err == nil {
		t.Error("put a file outside of the folder")
	}
	if n := len(files(t, outside)); n != 1 {
		t.Errorf("%d files outside", n)
	}
}
