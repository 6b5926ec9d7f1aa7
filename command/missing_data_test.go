package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trellis/command/exit"
	trellisv1 "trellis/proto/trellis/v1"
)

const digitsSpec = `
name: %NAME%
model: conv-autoencoder
data: %DATA%
grid: {latent_dim: [1, 2], learning_rate: 1e-3, max_epochs: 1}
batch_size: 20
`

func specOn(t *testing.T, name, data string) string {
	t.Helper()
	return writeSpec(t, strings.NewReplacer("%NAME%", name, "%DATA%", data).Replace(digitsSpec))
}

// The same content under another name is the same data set: a study of the new name is trained although an older one
// knows it by the old name.
func TestRenamedDataSet(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	writeImages(t, filepath.Join(data, "a"), 28, 10)
	_, address := startCoordinator(t, "--data-sets", data)
	mustTrellis(t, "submit", "--coordinator", address, specOn(t, "old", "a"))
	mustTrellis(t, "cancel", "--coordinator", address, "old")
	if err := os.Rename(filepath.Join(data, "a"), filepath.Join(data, "b")); err != nil {
		t.Fatal(err)
	}
	startWorker(t, address, "w", "--cache-dir", t.TempDir())
	mustTrellis(t, "submit", "--watch", "--coordinator", address, specOn(t, "new", "b"))
}

// A coordinator that is restarted without its data sets says so, and no run fails: they wait until it has them again.
func TestCoordinatorWithoutItsDataSets(t *testing.T) {
	t.Parallel()
	data, directory := t.TempDir(), t.TempDir()
	writeImages(t, filepath.Join(data, "digits"), 28, 10)
	coordinator, address := startCoordinator(t, "--data", directory, "--data-sets", data)
	mustTrellis(t, "submit", "--coordinator", address, specOn(t, "s", "digits"))
	coordinator.stop(t)
	coordinator, _ = start(t, `the study waits: its data set is missing`, "coordinator", "--listen", address,
		"--data", directory)
	startWorker(t, address, "w", "--cache-dir", t.TempDir())
	watchUntil(t, connect(t, address), "s", func(response *trellisv1.WatchStudyResponse) bool {
		return response.GetStudy().GetWaitingFor() != nil
	})
	if studies := mustTrellis(t, "studies", "--coordinator", address, "-o", "csv"); !strings.Contains(studies,
		",data_missing\n") {
		t.Errorf("studies are\n%s", studies)
	}
	if study := mustTrellis(t, "study", "--coordinator", address, "s"); !strings.Contains(study, "--data-sets") {
		t.Errorf("the study is\n%s", study)
	}
	coordinator.stop(t)
	start(t, `^Studies are in \S+ \(existing\)\.$`, "coordinator", "--listen", address, "--data", directory,
		"--data-sets", data)
	watch, _ := start(t, `study s is`, "watch", "--coordinator", address, "s")
	if code := watch.wait(t); code != exit.OK || strings.Contains(watch.said(), "failed") {
		t.Errorf("watch: exit code %d: %s", code, watch.said())
	}
}
