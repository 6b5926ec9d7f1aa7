package command

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trellis/command/exit"
	trellisv1 "trellis/proto/trellis/v1"
)

// The weights of every trial of a study can be fetched, and are those with the trial's validation loss.
func TestModelGet(t *testing.T) {
	skipRaced(t)
	coordinator, address := startCoordinator(t, "--data", t.TempDir())
	worker := startWorker(t, address, "worker", "--slots", "2")
	mustTrellis(t, "submit", "--watch", "--coordinator", address, writeSpec(t, mnistStudy))
	dir := t.TempDir()
	trials := readTrials(t, mustTrellis(t, "trials", "--coordinator", address, "same", "-o", "json"))
	for _, trial := range trials {
		file := filepath.Join(dir, "model")
		mustTrellis(t, "model", "get", "--coordinator", address, "same", "--trial", fmt.Sprint(trial.GetIndex()), "--file",
			file)
		metadata := readSafetensors(t, file)
		for key, want := range map[string]any{
			"validation_loss": trial.GetObjective(), "epoch": trial.GetBestEpoch(),
			"seed":          trial.GetParameters().GetSeed(),
			"latent_dim":    trial.GetParameters().Numeric("latent_dim"),
			"learning_rate": trial.GetParameters().Numeric("learning_rate"),
			"batch_size":    trial.GetParameters().Numeric("batch_size"),
		} {
			if metadata[key] != fmt.Sprint(want) {
				t.Errorf("trial %d: %s is %s, want %v", trial.GetIndex(), key, metadata[key], want)
			}
		}
	}
	best := readMessage(t, mustTrellis(t, "best", "--coordinator", address, "same", "-o", "json"),
		new(trellisv1.GetBestTrialResponse)).GetTrial()
	t.Chdir(dir)
	_, stderr, code := trellis(t, "model", "get", "--coordinator", address, "same")
	name := fmt.Sprintf("same-trial-%d.safetensors", best.GetIndex())
	if code != exit.OK || !strings.HasPrefix(stderr, "Wrote "+name+" (") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if metadata := readSafetensors(t, name); metadata["validation_loss"] != fmt.Sprint(best.GetObjective()) {
		t.Errorf("the best trial has %v, its weights %v", best, metadata)
	}
	stdout := mustTrellis(t, "model", "get", "--coordinator", address, "same", "--file", "-")
	if content, err := os.ReadFile(name); err != nil || string(content) != stdout {
		t.Errorf("standard output has %d bytes, the file %d: %v", len(stdout), len(content), err)
	}
	_, stderr, code = trellis(t, "model", "get", "--coordinator", address, "same", "--trial", "99")
	if code != exit.NotFound || !strings.Contains(stderr, "trial 99 not found in study \"same\": it has no indices above") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	worker.stop(t)
	coordinator.stop(t)
}

// readSafetensors checks that a file is in the format of safetensors, and returns its metadata.
func readSafetensors(t *testing.T, path string) map[string]string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	length := binary.LittleEndian.Uint64(content)
	if length > uint64(len(content)) {
		t.Fatalf("the header of %d bytes has %d", len(content), length)
	}
	var header map[string]json.RawMessage
	if err := json.Unmarshal(content[8:8+length], &header); err != nil {
		t.Fatal(err)
	}
	var metadata map[string]string
	if err := json.Unmarshal(header["__metadata__"], &metadata); err != nil {
		t.Fatal(err)
	}
	delete(header, "__metadata__")
	size := 0
	for name, data := range header {
		var tensor struct {
			Type    string `json:"dtype"`
			Shape   []int  `json:"shape"`
			Offsets [2]int `json:"data_offsets"`
		}
		if err := json.Unmarshal(data, &tensor); err != nil {
			t.Fatal(err)
		}
		elements := 1
		for _, n := range tensor.Shape {
			elements *= n
		}
		if tensor.Type != "F32" || tensor.Offsets[1]-tensor.Offsets[0] != 4*elements {
			t.Errorf("%s is %+v", name, tensor)
		}
		size += 4 * elements
	}
	if len(header) < 10 || size != len(content)-8-int(length) {
		t.Errorf("%d tensors have %d bytes in a file of %d", len(header), size, len(content))
	}
	return metadata
}
