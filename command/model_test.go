package command

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

// What is downloaded is what the digest says; a download that breaks off begins again.
func TestDownloadArtifact(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 100000)
	saved := &trellisv1.Checkpoint{Sha256: fmt.Sprintf("%x", sha256.Sum256(content)), Size: uint64(len(content))}
	var answer func(try int, send func([]byte) error) error
	tries := 0
	fake := &fakeCoordinator{download: func(
		request *trellisv1.DownloadArtifactRequest, stream trellisv1.ArtifactService_DownloadArtifactServer,
	) error {
		tries++
		if request.GetSha256() != saved.GetSha256() {
			t.Errorf("asked for %s", request.GetSha256())
		}
		return answer(tries, func(data []byte) error {
			return stream.Send(&trellisv1.DownloadArtifactResponse{Data: data})
		})
	}}
	c := connectClient(t, fake.serve(t))
	whole := func(_ int, send func([]byte) error) error {
		if err := send(content[:1<<20]); err != nil {
			return err
		}
		return send(content[1<<20:])
	}
	for _, test := range []struct {
		name   string
		answer func(try int, send func([]byte) error) error
		tries  int
		wrong  string
	}{
		// The content is no checkpoint, as decoding finds out at last.
		{"whole", whole, 1, "checkpoint is corrupt"},
		{"breaks off", func(try int, send func([]byte) error) error {
			if try < 3 {
				send(content[:1000])
				return status.Error(codes.Unavailable, "restarting")
			}
			return whole(try, send)
		}, 3, "checkpoint is corrupt"},
		{"too short", func(_ int, send func([]byte) error) error { return send(content[1:]) }, 1, "is damaged"},
		{"too long", func(try int, send func([]byte) error) error {
			whole(try, send)
			return send([]byte("x"))
		}, 1, "is longer than the 1600000 bytes"},
		{
			"gone", func(int, func([]byte) error) error { return status.Error(codes.NotFound, "no such artifact") }, 1,
			"no such artifact. Their checkpoint is not where the coordinator keeps checkpoints now",
		},
	} {
		tries, answer = 0, test.answer
		_, err := c.loadCheckpoint(t.Context(), saved)
		if err == nil || !strings.Contains(err.Error(), test.wrong) || tries != test.tries {
			t.Errorf("%s: got %v after %d tries; want %q after %d", test.name, err, tries, test.wrong, test.tries)
		}
	}
}

// The weights of every trial of a study can be fetched, and are those with the trial's validation loss.
func TestModelGet(t *testing.T) {
	coordinator, address := startCoordinator(t, "--data", t.TempDir())
	worker := startWorker(t, address, "worker", "--slots", "2")
	mustTrellis(t, "submit", "--watch", "--coordinator", address, writeSpec(t, mnistStudy))
	dir := t.TempDir()
	trials := readTrials(t, mustTrellis(t, "trials", "--coordinator", address, "same", "-o", "json"))
	for _, trial := range trials {
		file := filepath.Join(dir, "model")
		mustTrellis(t, "model", "get", "--coordinator", address, "same", "--trial", fmt.Sprint(trial.GetIndex()), "-o", file)
		metadata := readSafetensors(t, file)
		for key, want := range map[string]any{
			"validation_loss": trial.GetObjective(), "epoch": trial.GetBestEpoch(), "seed": trial.GetParameters().GetSeed(),
			"latent_dim": trial.GetParameters().GetLatentDim(), "learning_rate": trial.GetParameters().GetLearningRate(),
			"batch_size": trial.GetParameters().GetBatchSize(),
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
	if code != exitOK || !strings.HasPrefix(stderr, "Wrote "+name+" (") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if metadata := readSafetensors(t, name); metadata["validation_loss"] != fmt.Sprint(best.GetObjective()) {
		t.Errorf("the best trial has %v, its weights %v", best, metadata)
	}
	stdout := mustTrellis(t, "model", "get", "--coordinator", address, "same", "-o", "-")
	if content, err := os.ReadFile(name); err != nil || string(content) != stdout {
		t.Errorf("standard output has %d bytes, the file %d: %v", len(stdout), len(content), err)
	}
	_, stderr, code = trellis(t, "model", "get", "--coordinator", address, "same", "--trial", "99")
	if code != exitUsage || !strings.Contains(stderr, "study same has no trial 99") {
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
