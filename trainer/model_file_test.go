//go:build !race

package trainer

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// modelFile is a safetensors file taken apart as the format's description has it.
type modelFile struct {
	metadata map[string]string
	shapes   map[string][]int
	weights  map[string][]float32
}

func readModel(t *testing.T, file []byte) modelFile {
	t.Helper()
	length := binary.LittleEndian.Uint64(file)
	header, data := file[8:8+length], file[8+length:]
	if header[0] != '{' || (8+length)%8 != 0 {
		t.Errorf("header begins with %q and ends after %d bytes, want a brace and a multiple of 8", header[0], 8+length)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(header, &fields); err != nil {
		t.Fatal(err)
	}
	read := modelFile{shapes: map[string][]int{}, weights: map[string][]float32{}}
	covered := 0
	for name, field := range fields {
		if name == modelMetadata {
			if err := json.Unmarshal(field, &read.metadata); err != nil {
				t.Fatal(err)
			}
			continue
		}
		var tensor modelTensor
		if err := json.Unmarshal(field, &tensor); err != nil {
			t.Fatal(err)
		}
		bytes, size := data[tensor.Offsets[0]:tensor.Offsets[1]], 4
		for _, length := range tensor.Shape {
			size *= length
		}
		if tensor.Type != "F32" || len(bytes) != size {
			t.Errorf("%s has %d bytes of %s, want %d of F32", name, len(bytes), tensor.Type, size)
		}
		covered += len(bytes)
		read.shapes[name] = tensor.Shape
		for value := range slices.Chunk(bytes, 4) {
			read.weights[name] = append(read.weights[name], math.Float32frombits(binary.LittleEndian.Uint32(value)))
		}
	}
	if covered != len(data) {
		t.Errorf("tensors cover %d of %d bytes", covered, len(data))
	}
	return read
}

func TestWriteModel(t *testing.T) {
	config := small(t)
	config.MaxEpochs, config.LearningRate = 5, 0.03 // The best epoch is not the last.
	var last *Checkpoint
	config.Checkpoint = func(c *Checkpoint) error { last = c.Clone(); return nil }
	result, _ := collect(t, config)
	if result.BestEpoch == result.Epochs {
		t.Fatalf("the best epoch is the last, %d: choose another learning rate", result.Epochs)
	}
	summary := last.Summary()
	weights := 0
	for _, values := range result.Weights {
		weights += len(values)
	}
	if want := (Summary{5, result.BestEpoch, result.BestValue, false, weights}); summary != want {
		t.Errorf("summary is %+v, want %+v", summary, want)
	}
	var file bytes.Buffer
	// Whoever asks for the weights has no images.
	asked := Config{
		Model: config.Model, LatentDim: config.LatentDim, LearningRate: config.LearningRate,
		WeightDecay: config.WeightDecay, BatchSize: config.BatchSize, Seed: config.Seed,
	}
	if err := WriteModel(&file, asked, last, map[string]string{"study": "s", "trial": "3"}); err != nil {
		t.Fatal(err)
	}
	read := readModel(t, file.Bytes())
	if !maps.EqualFunc(read.weights, result.Weights, slices.Equal) {
		t.Error("the weights are not those of the best epoch")
	}
	wantShapes := map[string][]int{
		"encoder.c.0.weight": {8, 1, 3, 3}, "encoder.c.0.bias": {8},
		"encoder.c.2.weight": {16, 8, 3, 3}, "encoder.c.2.bias": {16},
		"encoder.c.4.weight": {32, 16, 3, 3}, "encoder.c.4.bias": {32},
		"encoder.l.0.weight": {64, 288}, "encoder.l.0.bias": {64},
		"encoder.l.2.weight": {6, 64}, "encoder.l.2.bias": {6},
		"decoder.l.0.weight": {64, 6}, "decoder.l.0.bias": {64},
		"decoder.l.2.weight": {288, 64}, "decoder.l.2.bias": {288},
		"decoder.c.0.weight": {32, 16, 3, 3}, "decoder.c.0.bias": {16},
		"decoder.c.2.weight": {16, 8, 3, 3}, "decoder.c.2.bias": {8},
		"decoder.c.4.weight": {8, 1, 3, 3}, "decoder.c.4.bias": {1},
	}
	if !reflect.DeepEqual(read.shapes, wantShapes) {
		t.Errorf("shapes are %v, want %v", read.shapes, wantShapes)
	}
	var loss float64
	if err := json.Unmarshal([]byte(read.metadata["validation_loss"]), &loss); err != nil || loss != summary.BestValue {
		t.Errorf("validation loss is %v (error %v), want %v", loss, err, summary.BestValue)
	}
	delete(read.metadata, "validation_loss")
	delete(read.metadata, "epoch")
	wantMetadata := map[string]string{
		"format": "pt", "model": ConvAutoencoder, "latent_dim": "6", "learning_rate": "0.03", "weight_decay": "1e-05",
		"batch_size": "50", "seed": "7", "parameters": "49799", "epochs": "5", "numerics_version": NumericsVersion,
		"channels": "1", "height": "28", "width": "28", "classes": "10",
		"filters": "8", "depth": "3", "kernel": "3", "hidden": "64", "loss": "mse",
		"study": "s", "trial": "3",
	}
	if !maps.Equal(read.metadata, wantMetadata) {
		t.Errorf("metadata is %v, want %v", read.metadata, wantMetadata)
	}
}

func TestWriteModelRefuses(t *testing.T) {
	network := small(t)
	network.MaxEpochs = 1
	var checkpoint *Checkpoint
	network.Checkpoint = func(c *Checkpoint) error { checkpoint = c.Clone(); return nil }
	collect(t, network)
	diverged := checkpoint.Clone()
	diverged.progress.bestEpoch, diverged.progress.best = 0, math.NaN()
	synthetic := syntheticConfig()
	for _, test := range []struct {
		name       string
		checkpoint *Checkpoint
		config     Config
		want       error
		message    string
	}{
		{
			"synthetic", &Checkpoint{progress: progress{epoch: 3, bestEpoch: 2}}, synthetic, ErrNoWeights,
			"it has no network",
		},
		{"diverged", diverged, network, ErrNoWeights, "no validation loss was finite"},
		{
			"other size", checkpoint,
			Config{Model: ConvAutoencoder, LatentDim: 7},
			ErrCheckpointMismatch,
			"weights, want",
		},
		{"other model", checkpoint, synthetic, ErrInvalidConfig, `model "synthetic"`},
		{"no latent dimension", checkpoint, Config{Model: ConvAutoencoder}, ErrInvalidConfig, "0 latent dimensions"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var file bytes.Buffer
			err := WriteModel(&file, test.config, test.checkpoint, nil)
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.message) || file.Len() > 0 {
				t.Errorf("got error %v and %d bytes, want %v with %q and none", err, file.Len(), test.want,
					test.message)
			}
		})
	}
}
