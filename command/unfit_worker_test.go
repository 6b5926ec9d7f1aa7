package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trellis/command/exit"
)

// One worker that can't train costs no run: it says so and ends, and the others train everything.
func TestUnfitWorker(t *testing.T) {
	data := t.TempDir()
	writeImages(t, filepath.Join(data, "digits"), 28, 10)
	_, address := startCoordinator(t, "--data-sets", data)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	_, stderr, code := trellis(t, "worker", "--coordinator", address, "--cache-dir", filepath.Join(file, "cache"))
	if want := "this worker can't train: its cache can't be used: mkdir " + file; code != exit.Error || !strings.Contains(stderr, want) {
		t.Errorf("exit code %d after %v, %s; want %d and %s", code, time.Since(begin), stderr, exit.Error, want)
	}
	startWorker(t, address, "sound")
	spec := writeSpec(t, `
name: eight
model: conv-autoencoder
data: digits
grid: {latent_dim: [1, 2, 3, 4, 5, 6, 7, 8], learning_rate: 1e-3, max_epochs: 1}
batch_size: 20
`)
	mustTrellis(t, "submit", "--watch", "--coordinator", address, spec)
	if workers := mustTrellis(t, "workers", "--coordinator", address, "-o", "csv"); strings.Count(workers, "\n") != 2 {
		t.Errorf("there are the workers\n%s", workers)
	}
}
