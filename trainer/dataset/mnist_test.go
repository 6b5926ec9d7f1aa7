package dataset

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

// moduleData returns the folder with MNIST in the module cache, where the build put it.
func moduleData(t *testing.T) string {
	t.Helper()
	folder := moduleFolder(t.Context())
	if folder == "" {
		t.Fatalf("the module cache lacks %s, which importing it should have brought", mnistModule)
	}
	return filepath.Join(folder, "data")
}

// skipIfShort is for the tests that read MNIST once more, which takes seconds with the race detector.
func skipIfShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("reads all of MNIST")
	}
}

func TestMNIST(t *testing.T) {
	set, err := new(Library).Find(t.Context(), MNIST)
	if err != nil {
		t.Fatal(err)
	}
	if set.Name != MNIST || set.Height != 28 || set.Width != 28 || set.TrainImages != 60_000 || set.TestImages != 10_000 {
		t.Errorf("found %+v", set)
	}
	data, err := set.Load()
	if err != nil {
		t.Fatal(err)
	}
	split, err := data.Split(50_000, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	if split.Train.Len() != 50_000 || split.Validation.Len() != 10_000 || split.Test.Len() != 10_000 {
		t.Errorf("split into %d, %d and %d", split.Train.Len(), split.Validation.Len(), split.Test.Len())
	}
	// What everybody knows about MNIST: its first labels, and its mean pixel of 0.1307.
	if got := split.Train.Labels[:8]; !slices.Equal(got, []byte{5, 0, 4, 1, 9, 2, 1, 3}) {
		t.Errorf("the first training labels are %v", got)
	}
	if got := split.Test.Labels[:8]; !slices.Equal(got, []byte{7, 2, 1, 0, 4, 1, 4, 9}) {
		t.Errorf("the first test labels are %v", got)
	}
	sum := 0
	for _, pixel := range data.Train.Pixels {
		sum += int(pixel)
	}
	if mean := float64(sum) / 255 / float64(len(data.Train.Pixels)); mean < 0.13065 || mean > 0.13067 {
		t.Errorf("the mean pixel is %v", mean)
	}
}

// TestMNISTByGoCommand: a module cache that lacks the module gets it from a module proxy.
func TestMNISTByGoCommand(t *testing.T) {
	skipIfShort(t)
	command := exec.CommandContext(t.Context(), "go", "env", "GOMODCACHE")
	cache, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	proxy := filepath.Join(strings.TrimSpace(string(cache)), "cache", "download")
	fresh := t.TempDir()
	t.Setenv("GOMODCACHE", fresh)
	t.Setenv("GOPROXY", "file://"+filepath.ToSlash(proxy))
	t.Setenv("GOSUMDB", "off")
	t.Setenv("GOFLAGS", "-modcacherw")
	set, err := new(Library).Find(t.Context(), MNIST)
	if err != nil {
		t.Fatal(err)
	}
	if set.TrainImages != 60_000 || !strings.HasPrefix(string(set.Files[0].place), fresh) {
		t.Errorf("found %+v", set)
	}
}

// altered returns a gzipped file of MNIST with one byte of its content changed.
func altered(t *testing.T, name string) []byte {
	t.Helper()
	r, err := place(filepath.Join(moduleData(t), name+".gz")).open()
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	return gzipped(t, content)
}

// copyMNIST copies the gzipped files into a folder.
func copyMNIST(t *testing.T, folder string) {
	t.Helper()
	source := moduleData(t)
	if err := os.CopyFS(folder, os.DirFS(source)); err != nil {
		t.Fatal(err)
	}
	for _, name := range FileNames {
		if err := os.Chmod(filepath.Join(folder, name+".gz"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMNISTInFolder(t *testing.T) {
	skipIfShort(t)
	dir := t.TempDir()
	copyMNIST(t, filepath.Join(dir, MNIST))
	damaged := altered(t, FileNames[3])
	hideGo(t)
	library := Library{Dir: dir}
	if _, err := library.Find(t.Context(), MNIST); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, MNIST, FileNames[3]+".gz"), damaged)
	_, err := library.Find(t.Context(), MNIST)
	if !errors.Is(err, ErrInvalid) {
		t.Fatalf("an altered file: %v", err)
	}
	for _, part := range []string{
		filepath.Join(dir, MNIST, FileNames[3]), // The file,
		mnistFiles()[3].SHA256,                  // what is expected,
		"this content has ",                     // and what is found.
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not contain %q", err, part)
		}
	}
}

// TestMNISTFromMirrors: the first mirror is down, the second has altered a file, the third is fine.
func TestMNISTFromMirrors(t *testing.T) {
	skipIfShort(t)
	files := http.FileServer(http.Dir(moduleData(t)))
	damaged := altered(t, FileNames[3])
	hideGo(t)
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		switch mirror, _, _ := strings.Cut(r.URL.Path[1:], "/"); mirror {
		case "down":
			http.Error(w, "down", http.StatusServiceUnavailable)
		case "altered":
			if strings.HasSuffix(r.URL.Path, FileNames[3]+".gz") {
				_, _ = w.Write(damaged)
				return
			}
			http.StripPrefix("/altered", files).ServeHTTP(w, r)
		case "good":
			http.StripPrefix("/good", files).ServeHTTP(w, r)
		}
	}))
	defer server.Close()
	library := Library{
		CacheDir: t.TempDir(),
		Mirrors:  []string{server.URL + "/down/", server.URL + "/altered/"},
		Client:   server.Client(),
	}
	_, err := library.Find(t.Context(), MNIST)
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "503 Service Unavailable") ||
		!strings.Contains(err.Error(), FileNames[3]+" has SHA-256 "+mnistFiles()[3].SHA256) {
		t.Fatalf("from bad mirrors: %v", err)
	}
	if entries, err := os.ReadDir(library.CacheDir); err != nil || len(entries) != 3 {
		t.Fatalf("the cache has %v, %v; want the three good files", entries, err)
	}
	library.Mirrors = append(library.Mirrors, server.URL+"/good/")
	requests.Store(0)
	set, err := library.Find(t.Context(), MNIST)
	if err != nil || set.Name != MNIST || set.TrainImages != 60_000 {
		t.Fatalf("got %+v, %v", set, err)
	}
	if n := requests.Load(); n != 3 {
		t.Errorf("%d requests; want one to each mirror, for the file that was missing", n)
	}
	library.Mirrors = []string{}
	if _, err := library.Find(t.Context(), MNIST); err != nil {
		t.Errorf("a complete cache needs no mirror: %v", err)
	}
}

// TestMirrorBombs: a mirror sends more than the file has, and another sends compressed nothing for ever.
func TestMirrorBombs(t *testing.T) {
	large, nothing := gzipped(t, make([]byte, 1<<20)), gzipped(t, nil)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/large/") {
			_, _ = w.Write(large)
			return
		}
		for {
			if _, err := w.Write(nothing); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	library := Library{Client: server.Client()}
	file := newFixture(1).files()[0]
	for _, test := range []struct{ mirror, message string }{
		{"/large/", "has 160 bytes, this content has more"},
		{"/endless/", "unexpected EOF"},
	} {
		v := newVerifier(file)
		err := library.downloadFrom(server.URL+test.mirror)(t.Context(), file, v)
		if err == nil || !strings.Contains(err.Error(), test.message) {
			t.Errorf("%s: got %v; want %q", test.mirror, err, test.message)
		}
	}
}

func TestMNISTNowhere(t *testing.T) {
	hideGo(t)
	dir := t.TempDir()
	_, err := (&Library{Dir: dir, Mirrors: []string{}}).Find(t.Context(), MNIST)
	if err == nil || !strings.Contains(err.Error(), "put them into "+filepath.Join(dir, MNIST)) {
		t.Errorf("got %v; want to be told where to put the files", err)
	}
	if !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("got %v; want to be told that Go is not installed", err)
	}
}

func TestMNISTCanceled(t *testing.T) {
	hideGo(t)
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	defer server.Close()
	library := Library{CacheDir: t.TempDir(), Mirrors: []string{server.URL + "/"}, Client: server.Client()}
	if _, err := library.Find(ctx, MNIST); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if entries, err := fs.ReadDir(os.DirFS(library.CacheDir), "."); err != nil || len(entries) != 0 {
		t.Errorf("the canceled download left %v, %v", entries, err)
	}
}
