package onnx

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"trellis/trainer"
)

// pythonVariable names a Python that has onnxruntime: make check-export sets it.
const pythonVariable = "TRELLIS_EXPORT_PYTHON"

// onnxruntime gives what the trainer's own network gives, and so does PyTorch with the weights, if it is installed.
func TestModelsInTheirTools(t *testing.T) {
	python := os.Getenv(pythonVariable)
	if python == "" {
		t.Skipf("%s names no Python with onnxruntime: run make check-export", pythonVariable)
	}
	for _, shape := range []trainer.Image{
		{Channels: 1, Height: side, Width: side}, {Channels: 3, Height: 21, Width: 34},
	} {
		t.Run(fmt.Sprintf("%dx%dx%d", shape.Channels, shape.Height, shape.Width), func(t *testing.T) {
			compare(t, python, shape)
		})
	}
}

// compare compares the models of images of a shape.
func compare(t *testing.T, python string, shape trainer.Image) {
	folder := t.TempDir()
	for _, name := range []string{
		trainer.ConvAutoencoder, trainer.DenoisingAutoencoder, trainer.VariationalAutoencoder, trainer.Classifier,
	} {
		config, checkpoint := trainedOn(t, name, 5, shape)
		inference, pixels := inferenceOf(t, config, checkpoint)
		var network, weights bytes.Buffer
		origin := map[string]string{"study": "study"}
		if err := Write(&network, inference, trainer.ModelMetadata(config, checkpoint, origin), "1.2.3"); err != nil {
			t.Fatal(err)
		}
		if err := trainer.WriteModel(&weights, config, checkpoint, origin); err != nil {
			t.Fatal(err)
		}
		files := map[string][]byte{
			name + ".onnx": network.Bytes(), name + ".safetensors": weights.Bytes(), "images": floats(pixels),
		}
		outputs := autoencoder
		switch name {
		case trainer.VariationalAutoencoder:
			outputs = variational
		case trainer.Classifier:
			outputs = classifier
		}
		for output, get := range outputs {
			values, err := get(t.Context(), inference, pixels)
			if err != nil {
				t.Fatal(err)
			}
			files[name+"."+output] = floats(values)
		}
		for file, data := range files {
			if err := os.WriteFile(filepath.Join(folder, file), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	command := exec.CommandContext(t.Context(), python, "testdata/compare.py", folder, "../../docs/export.md")
	output, err := command.CombinedOutput()
	t.Logf("%s", output)
	if err != nil {
		t.Error(err)
	}
}

func floats(values []float32) []byte {
	var data []byte
	for _, value := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(value))
	}
	return data
}
