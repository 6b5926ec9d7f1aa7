package command

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/exit"
	"trellis/command/fake"
	trellisv1 "trellis/proto/trellis/v1"
)

// A backup of a coordinator that goes on, restored into a fresh one, has the same trials; what was under way then is
// finished there, with the same bytes.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	spec := writeSpec(t, longStudy)
	_, from := startCoordinator(t, "--data", t.TempDir())
	startWorker(t, from, "worker")
	done := strings.Replace(longStudy, "name: long", "name: done", 1)
	mustTrellis(t, "submit", "--watch", "--coordinator", from, writeSpec(t, strings.Replace(done, "5ms", "1ms", 1)))
	mustTrellis(t, "submit", "--coordinator", from, spec)
	awaitEpochs(t, connect(t, from), "long", 30)
	file := filepath.Join(t.TempDir(), "backup")
	_, stderr, code := trellis(t, "backup", file, "--coordinator", from)
	if code != exit.OK || !strings.Contains(stderr, "up to index ") {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	trialsOf := func(address, study string) string {
		return mustTrellis(t, "trials", "--coordinator", address, study, "-o", "json")
	}

	_, to := startCoordinator(t, "--data", t.TempDir(), "--lease", "1s")
	mustTrellis(t, "submit", "--coordinator", to, writeSpec(t, endlessStudy))
	_, stderr, code = trellis(t, "restore", file, "--coordinator", to)
	if code != exit.Usage || !strings.Contains(stderr, "add --yes") {
		t.Errorf("without being asked: exit code %d: %s", code, stderr)
	}
	_, stderr, code = trellis(t, "restore", "--yes", file, "--coordinator", to)
	want := "Restored: the coordinator now has 2 studies with 24 trials instead of 1 study with 4 trials."
	if code != exit.OK || !strings.Contains(stderr, want) {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if studies := mustTrellis(t, "studies", "--coordinator", to, "-o", "csv"); strings.Contains(studies, "endless") {
		t.Errorf("studies are\n%s", studies)
	}
	if got, want := trialsOf(to, "done"), trialsOf(from, "done"); got != want {
		t.Errorf("before:\n%s\nafter:\n%s", want, got)
	}
	startWorker(t, to, "other")
	mustTrellis(t, "watch", "--coordinator", to, "long")
	mustTrellis(t, "watch", "--coordinator", from, "long")
	if got, want := trialsOf(to, "long"), trialsOf(from, "long"); got != want {
		t.Errorf("where it began:\n%s\nwhere it was restored:\n%s", want, got)
	}

	// What is no backup changes nothing.
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before := trialsOf(to, "long")
	altered := bytes.Clone(data)
	altered[len(altered)/2]++
	for name, content := range map[string][]byte{
		"empty": nil, "cut": data[:len(data)-1], "altered": altered, "text": []byte("no backup at all, but a text"),
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		_, stderr, code := trellis(t, "restore", "--yes", path, "--coordinator", to)
		if code == exit.OK || !strings.Contains(stderr, "damaged") && !strings.Contains(stderr, "not a backup") {
			t.Errorf("%s: exit code %d: %s", name, code, stderr)
		}
	}
	if after := trialsOf(to, "long"); after != before {
		t.Errorf("damaged backups have changed\n%s\nto\n%s", before, after)
	}
}

// Whoever has replaced everything is told so, even if the coordinator says no more.
func TestRestoreSaysThatItHasRestored(t *testing.T) {
	fake := new(fake.Coordinator)
	fake.OnRestore = func(stream trellisv1.ClusterService_RestoreServer) error {
		for {
			if _, err := stream.Recv(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return err
			}
		}
		fake.OnList = func() error { return status.Error(codes.Internal, "the disk has failed") }
		return stream.SendAndClose(&trellisv1.RestoreResponse{})
	}
	file := filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(file, []byte("a backup"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stderr, code := trellis(t, "restore", "--yes", file, "--coordinator", fake.Serve(t))
	if code == exit.OK || !strings.Contains(stderr, "the backup was restored, but") ||
		!strings.Contains(stderr, "the disk has failed") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// A backup that breaks off leaves the file as it was.
func TestBackupBreaksOff(t *testing.T) {
	fake := &fake.Coordinator{
		Cluster: &trellisv1.GetClusterResponse{},
		OnBackup: func(stream trellisv1.ClusterService_BackupServer) error {
			stream.Send(&trellisv1.BackupResponse{Data: []byte("half of a ba")})
			return status.Error(codes.Unavailable, "the disk has failed")
		},
	}
	file := filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(file, []byte("yesterday's"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stderr, code := trellis(t, "backup", file, "--coordinator", fake.Serve(t))
	if code != exit.Unavailable || stderr != "trellis: the disk has failed\n" {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if content, err := os.ReadFile(file); err != nil || string(content) != "yesterday's" {
		t.Errorf("the file has %q, %v", content, err)
	}
}
