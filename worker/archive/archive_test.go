package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

var roomy = Limits{Files: 1000, Bytes: 1 << 20}

func open(t *testing.T, folder string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// tree makes files by name, in the order of the list: "name content", "name/" for folders and "name -> target" for
// links.
func tree(t *testing.T, files ...string) string {
	t.Helper()
	folder := t.TempDir()
	for _, file := range files {
		name, content, _ := strings.Cut(file, " ")
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		var err error
		switch target, link := strings.CutPrefix(content, "-> "); {
		case link:
			err = os.Symlink(target, path)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o700)
		default:
			err = os.WriteFile(path, []byte(content), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func pack(t *testing.T, folder string, limits Limits, skip func(string, bool) bool) ([]byte, Info, error) {
	t.Helper()
	var packed bytes.Buffer
	info, err := Pack(t.Context(), &packed, open(t, folder), limits, skip)
	return packed.Bytes(), info, err
}

func mustPack(t *testing.T, folder string) ([]byte, Info) {
	t.Helper()
	packed, info, err := pack(t, folder, roomy, nil)
	if err != nil {
		t.Fatal(err)
	}
	return packed, info
}

// list returns what is in a folder, with modes.
func list(t *testing.T, folder string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == folder {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(folder, path)
		content := ""
		if info.Mode().IsRegular() {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = string(text)
		}
		fmt.Fprintf(&all, "%v %s %s\n", info.Mode(), name, content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// The digest is of names, contents and whether they can be executed, and of nothing else.
func TestSameContentSameBytes(t *testing.T) {
	one := tree(t, "b/two 2", "a one", "b/empty/", "run.sh echo")
	other := tree(t, "run.sh echo", "b/empty/", "a one", "b/two 2")
	for _, folder := range []string{one, other} {
		if err := os.Chmod(filepath.Join(folder, "run.sh"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(filepath.Join(other, "a"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(other, "a"), 0o640); err != nil {
		t.Fatal(err)
	}
	first, info := mustPack(t, one)
	second, _ := mustPack(t, other)
	if !bytes.Equal(first, second) {
		t.Error("the same content gives other bytes")
	}
	// The bytes must not change by accident, also by a new version of zstd: runs are shared by this digest.
	const digest = "b89f6d9a259bc6254f1b9e11eb8e577dbbe7830f0e039626320fc80d6c7f5f6c"
	if info.SHA256 != digest || info.Files != 3 || info.Bytes != 8 || info.Size != int64(len(first)) {
		t.Errorf("got %+v", info)
	}
	if err := os.Chmod(filepath.Join(other, "a"), 0o700); err != nil {
		t.Fatal(err)
	}
	if third, _ := mustPack(t, other); bytes.Equal(first, third) {
		t.Error("another mode gives the same bytes")
	}
}

func TestRoundTrip(t *testing.T) {
	long := strings.Repeat("d/", 60) + strings.Repeat("n", 200)
	folder := tree(t, "a one", "b/two 2", "b/empty/", "link -> b/two", "all -> b", "ünï 3", long+" deep", "zero ")
	packed, info := mustPack(t, folder)
	into := t.TempDir()
	got, err := Unpack(t.Context(), bytes.NewReader(packed), open(t, into), roomy)
	if err != nil {
		t.Fatal(err)
	}
	if got.Files != info.Files || got.Bytes != info.Bytes {
		t.Errorf("packed %+v, unpacked %+v", info, got)
	}
	for name, want := range map[string]string{"a": "one", "link": "2", "all/two": "2", long: "deep", "zero": ""} {
		content, err := os.ReadFile(filepath.Join(into, name))
		if err != nil || string(content) != want {
			t.Errorf("%.20s: got %q (%v), want %q", name, content, err, want)
		}
	}
	again, _ := mustPack(t, into)
	if !bytes.Equal(packed, again) {
		t.Error("what was unpacked packs to other bytes")
	}
	if _, err := Unpack(t.Context(), bytes.NewReader(packed), open(t, into), roomy); !errors.Is(err, fs.ErrExist) {
		t.Errorf("unpacked over files that exist: %v", err)
	}
}

func TestSkip(t *testing.T) {
	folder := tree(t, "keep 1", "data/big 2", "data/more/x 3", "out -> /etc")
	var asked []string
	packed, info, err := pack(t, folder, roomy, func(path string, folder bool) bool {
		asked = append(asked, fmt.Sprint(path, folder))
		return path == "data" || path == "out"
	})
	if err != nil || info.Files != 1 || len(packed) == 0 {
		t.Errorf("got %+v, %v", info, err)
	}
	if got := strings.Join(asked, " "); got != "datatrue keepfalse outfalse" {
		t.Errorf("asked about %s", got)
	}
}

func TestFoldersThatCannotBePacked(t *testing.T) {
	deep := strings.Repeat("d/", 300) + "x"
	for _, test := range []struct {
		name   string
		files  []string
		limits Limits
		says   string
		is     error
	}{
		{"a link out", []string{"link -> /etc/passwd"}, roomy, "link is a link that leads outside", nil},
		{"a link above", []string{"a/link -> ../../x"}, roomy, "a/link is a link that leads outside", nil},
		{"a link to nothing", []string{"link -> none"}, roomy, "or nowhere", fs.ErrNotExist},
		{"a link to itself", []string{"link -> link"}, roomy, "link is a link", nil},
		{"a circle", []string{"a/b/up -> .."}, roomy, "a/b/up is a link to a folder that it lies in", nil},
		{"the folder itself", []string{"self -> ."}, roomy, "self is a link to a folder that it lies in", nil},
		{"files", []string{"a 1", "b 1", "c 1"}, Limits{Files: 2, Bytes: 100}, "more than 2 files", ErrLimit},
		{"bytes", []string{"a 123", "b 456"}, Limits{Files: 2, Bytes: 5}, "more than 5 bytes", ErrLimit},
		{"depth", []string{deep}, roomy, "more than 256 deep", ErrLimit},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := pack(t, tree(t, test.files...), test.limits, nil)
			if err == nil || !strings.Contains(err.Error(), test.says) || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("got %v", err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Pack(ctx, &bytes.Buffer{}, open(t, tree(t, "a 1")), roomy, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("packed although canceled: %v", err)
	}
}

// compress makes an archive of headers with the same content.
func compress(t *testing.T, content string, headers ...*tar.Header) []byte {
	t.Helper()
	var packed bytes.Buffer
	compressed, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(compressed)
	for _, header := range headers {
		if header.Typeflag == tar.TypeReg {
			header.Size = int64(len(content))
		}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte(content)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(w.Close(), compressed.Close()); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// Archives of strangers do nothing outside their folder.
func TestHostileArchives(t *testing.T) {
	file := func(name string) *tar.Header { return &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644} }
	for _, test := range []struct {
		name    string
		archive []byte
		is      error
	}{
		{"above", compress(t, "x", file("../x")), ErrInvalid},
		{"above, within", compress(t, "x", file("a/../../x")), ErrInvalid},
		{"absolute", compress(t, "x", file("/tmp/x")), ErrInvalid},
		{"no name", compress(t, "x", file(".")), ErrInvalid},
		{"a link", compress(t, "", &tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/etc"}), ErrInvalid},
		{"a hard link", compress(t, "", &tar.Header{Name: "l", Typeflag: tar.TypeLink, Linkname: "/etc"}), ErrInvalid},
		{"a device", compress(t, "", &tar.Header{Name: "d", Typeflag: tar.TypeChar, Devmajor: 1}), ErrInvalid},
		{"a pipe", compress(t, "", &tar.Header{Name: "p", Typeflag: tar.TypeFifo}), ErrInvalid},
		{"twice", compress(t, "x", file("a"), file("a")), fs.ErrExist},
		{"a bomb", compress(t, strings.Repeat("x", 2<<20), file("a")), ErrLimit},
		{"many files", compress(t, "", make1001()...), ErrLimit},
		{"many folders above files", compress(t, "", deep101()...), ErrLimit},
		{"deep", compress(t, "x", file(strings.Repeat("d/", 300)+"x")), ErrInvalid},
		{"text", []byte("this is not an archive"), ErrInvalid},
		{"cut", compress(t, strings.Repeat("abc", 1000), file("a"))[:60], ErrInvalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			outer := t.TempDir()
			into := filepath.Join(outer, "into")
			if err := os.Mkdir(into, 0o700); err != nil {
				t.Fatal(err)
			}
			_, err := Unpack(t.Context(), bytes.NewReader(test.archive), open(t, into), roomy)
			if !errors.Is(err, test.is) {
				t.Errorf("got %v, want %v", err, test.is)
			}
			if around, _ := os.ReadDir(outer); len(around) != 1 {
				t.Errorf("it wrote %v", around)
			}
			if strings.Contains(list(t, into), "L") {
				t.Errorf("it made %s", list(t, into))
			}
		})
	}
}

func make1001() []*tar.Header {
	var headers []*tar.Header
	for i := range 1001 {
		headers = append(headers, &tar.Header{Name: fmt.Sprint("d", i, "/"), Typeflag: tar.TypeDir})
	}
	return headers
}

// deep101 is 101 files, each in ten folders of its own.
func deep101() []*tar.Header {
	var headers []*tar.Header
	for i := range 101 {
		name := fmt.Sprint("d", i, strings.Repeat("/d", 9), "/x")
		headers = append(headers, &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644})
	}
	return headers
}

// interfering is a context that does something when it is asked for the n-th time.
type interfering struct {
	context.Context
	n  int
	do func()
}

func (i *interfering) Err() error {
	if i.n--; i.n == 0 {
		i.do()
	}
	return nil
}

// Whoever changes a folder while it is packed makes that fail, at whatever time, unless it is packed as it was before or as
// it is after that.
func TestFoldersThatChange(t *testing.T) {
	old := time.Now().Add(-time.Hour)
	for name, change := range map[string]func(folder string) error{
		"removed":        os.RemoveAll,
		"a file removed": func(folder string) error { return os.Remove(filepath.Join(folder, "b/2")) },
		"emptied": func(folder string) error {
			return errors.Join(os.RemoveAll(filepath.Join(folder, "b")), os.Remove(filepath.Join(folder, "a")))
		},
		"written anew": func(folder string) error { return os.WriteFile(filepath.Join(folder, "b/1"), []byte("new"), 0o600) },
		"all written anew": func(folder string) error {
			return errors.Join(os.WriteFile(filepath.Join(folder, "a"), []byte("new"), 0o600),
				os.WriteFile(filepath.Join(folder, "c"), []byte("anew"), 0o600))
		},
		"two removed": func(folder string) error {
			return errors.Join(os.Remove(filepath.Join(folder, "a")), os.Remove(filepath.Join(folder, "b/2")))
		},
		"more":       func(folder string) error { return os.WriteFile(filepath.Join(folder, "b/3"), nil, 0o600) },
		"longer":     func(folder string) error { return os.WriteFile(filepath.Join(folder, "c"), []byte("long"), 0o600) },
		"moved away": func(folder string) error { return os.Rename(folder, folder+"-2") },
		"replaced": func(folder string) error {
			return errors.Join(os.Rename(filepath.Join(folder, "b"), filepath.Join(folder, "z")),
				os.Rename(filepath.Join(folder, "z"), filepath.Join(folder, "b")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			failed := 0
			for n := 1; ; n++ {
				folder := tree(t, "a one", "b/1 two", "b/2 three", "c four")
				for _, name := range []string{"a", "b/1", "b/2", "b", "c", "."} {
					if err := os.Chtimes(filepath.Join(folder, name), old, old); err != nil {
						t.Fatal(err)
					}
				}
				undisturbed, _ := mustPack(t, folder)
				ctx := &interfering{Context: t.Context(), n: n, do: func() {
					if err := change(folder); err != nil {
						t.Fatal(err)
					}
				}}
				var packed bytes.Buffer
				_, err := PackUnchanged(ctx, &packed, open(t, folder), roomy)
				if ctx.n > 0 {
					break
				}
				if err != nil {
					failed++
					if !errors.Is(err, ErrChanged) && !errors.Is(err, fs.ErrNotExist) {
						t.Errorf("at step %d: %v", n, err)
					}
					continue
				}
				var changed bytes.Buffer
				if root, err := os.OpenRoot(folder); err == nil {
					_, _ = Pack(t.Context(), &changed, root, roomy, nil)
					root.Close()
				}
				if !bytes.Equal(packed.Bytes(), undisturbed) && !bytes.Equal(packed.Bytes(), changed.Bytes()) {
					t.Errorf("at step %d: half of it was packed", n)
				}
			}
			if failed == 0 && name != "moved away" {
				t.Error("it never failed")
			}
		})
	}
}

// Files can be executed or not; nothing else of a mode counts, not even of a stranger's.
func TestModes(t *testing.T) {
	into := t.TempDir()
	archive := compress(t, "x",
		&tar.Header{Name: "suid", Typeflag: tar.TypeReg, Mode: 0o4777},
		&tar.Header{Name: "none", Typeflag: tar.TypeReg})
	if _, err := Unpack(t.Context(), bytes.NewReader(archive), open(t, into), roomy); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"suid": 0o755, "none": 0o644} {
		info, err := os.Stat(filepath.Join(into, name))
		// The umask may take some away.
		if err != nil || info.Mode()&^want != 0 || info.Mode()&0o600 != 0o600 {
			t.Errorf("%s: got %v (%v)", name, info.Mode(), err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add([]byte("x"), "a/b", byte(tar.TypeReg))
	f.Add([]byte(""), "../../x", byte(tar.TypeDir))
	f.Fuzz(func(t *testing.T, content []byte, name string, kind byte) {
		var packed bytes.Buffer
		compressed, _ := zstd.NewWriter(&packed)
		w := tar.NewWriter(compressed)
		header := &tar.Header{Name: name, Typeflag: kind, Linkname: "/etc"}
		if kind == tar.TypeReg {
			header.Size = int64(len(content))
		}
		if w.WriteHeader(header) != nil {
			return
		}
		_, _ = w.Write(content)
		_, _ = w.Close(), compressed.Close()
		outer := t.TempDir()
		into := filepath.Join(outer, "into")
		if err := os.Mkdir(into, 0o700); err != nil {
			t.Fatal(err)
		}
		root := open(t, into)
		_, _ = Unpack(t.Context(), bytes.NewReader(packed.Bytes()), root, roomy)
		_, _ = Unpack(t.Context(), bytes.NewReader(content), root, roomy)
		if around, _ := os.ReadDir(outer); len(around) != 1 {
			t.Errorf("it wrote %v", around)
		}
	})
}

func BenchmarkPack(b *testing.B) {
	folder := b.TempDir()
	content := bytes.Repeat([]byte("weights of some network, "), 4000)
	for i := range 100 {
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprint(i)), content, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	b.SetBytes(int64(100 * len(content)))
	for b.Loop() {
		if _, err := Pack(b.Context(), &bytes.Buffer{}, root, Limits{Files: 1000, Bytes: 1 << 30}, nil); err != nil {
			b.Fatal(err)
		}
	}
}
