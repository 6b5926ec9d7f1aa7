package chaos

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDataOfTheVersionBeforeAxes opens a data directory that was written when parameters were fields of messages: with
// studies of all models that are extended, settled, pruned, canceled and under way, in a snapshot and in the log after
// it. What commands answer about them is what they answered then, byte for byte, digests and ids of runs among it. Only
// suggestions have another shape: for them, the reasons are compared. Importances were recorded again when they came to be
// added in the order of trials: of two, the 16th digit is another.
func TestDataOfTheVersionBeforeAxes(t *testing.T) {
	skipRaced(t)
	parallel(t)
	f := newFleet(t)
	old := filepath.Join("testdata", "before-axes")
	coordinator := f.newCoordinator("before", "--lease", "10m")
	unpack(t, filepath.Join(old, "data.tar.gz"), coordinator.data)
	c := newClient(t, coordinator.address)
	coordinator.startServing(c)
	recorded, err := filepath.Glob(filepath.Join(old, "answers", "*.txt"))
	if err != nil || len(recorded) != 10 {
		t.Fatalf("recorded are %v, %v", recorded, err)
	}
	for _, path := range recorded {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		study := strings.TrimSuffix(filepath.Base(path), ".txt")
		for part := range strings.SplitSeq(strings.TrimPrefix(string(text), "## trellis "), "\n## trellis ") {
			line, want, _ := strings.Cut(part, "\n")
			got := answerOf(t, coordinator, study, line)
			if strings.HasPrefix(line, "suggest") {
				got, want = reasonsOf(got), reasonsOf(want)
			}
			if strings.TrimSpace(got) != strings.TrimSpace(want) {
				t.Errorf("trellis %s %s: got\n%s\nwant\n%s", line, study, got, want)
			}
		}
	}
}

// answerOf runs a command about a study, and returns what it says.
func answerOf(t *testing.T, coordinator *process, study, line string) string {
	t.Helper()
	args := append(words(line), "--coordinator", coordinator.address, study)
	out, err := exec.Command(binary, args...).CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out)
}

// words takes a command line apart, where one word may stand in single quotes.
func words(line string) []string {
	before, rest, quoted := strings.Cut(line, "'")
	all := strings.Fields(before)
	if quoted {
		inside, after, _ := strings.Cut(rest, "'")
		all = append(append(all, inside), strings.Fields(after)...)
	}
	return all
}

// reasonsOf are the reasons of a suggestion, without that of the batch size, which studies did not search then.
func reasonsOf(suggestion string) string {
	var reasons []string
	for line := range strings.SplitSeq(suggestion, "\n") {
		if strings.HasPrefix(line, "#") && !strings.Contains(line, "batch_size") || !strings.Contains(line, ":") {
			reasons = append(reasons, line)
		}
	}
	return strings.Join(reasons, "\n")
}

// unpack unpacks an archive, whose files are in a folder, into another folder.
func unpack(t *testing.T, path, into string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	packed, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewReader(packed)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(strings.TrimSuffix(header.Name, "/"), "/")
		target := filepath.Join(into, name)
		if header.Typeflag == tar.TypeDir {
			err = os.MkdirAll(target, 0o700)
		} else {
			var content []byte
			if content, err = io.ReadAll(archive); err == nil {
				err = os.WriteFile(target, content, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
