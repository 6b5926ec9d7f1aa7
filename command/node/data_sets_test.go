package node

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	d, err := newDataSets(&DataOptions{dataSets: dir, cacheDir: t.TempDir()})
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
	d, err := newDataSets(&DataOptions{dataSets: dir, cacheDir: t.TempDir()})
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
