//go:build !race

package trainer

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
)

// lastCheckpoint trains to the end.
func lastCheckpoint(t *testing.T, config Config) (Report, *Checkpoint) {
	t.Helper()
	var last *Checkpoint
	config.Checkpoint = func(c *Checkpoint) error { last = c.Clone(); return nil }
	_, reports := collect(t, config)
	return reports[len(reports)-1], last
}

func pixelsOf(config Config) []float32 {
	pixels := make([]float32, len(config.Data.Test.Pixels))
	for i, value := range config.Data.Test.Pixels {
		pixels[i] = float32(value) / 255
	}
	return pixels
}

func meanSquare(a, b []float32) float64 {
	var sum float64
	for i := range a {
		difference := float64(a[i] - b[i])
		sum += difference * difference
	}
	return sum / float64(len(a))
}

// Reconstructions of the test images, with the noise that the model saw on them, have the test loss.
func TestInferenceReconstructs(t *testing.T) {
	for _, name := range []string{ConvAutoencoder, DenoisingAutoencoder} {
		config := smallModel(t, name)
		report, checkpoint := lastCheckpoint(t, config)
		inference, err := NewInference(config, checkpoint)
		if err != nil {
			t.Fatal(err)
		}
		images := pixelsOf(config)
		seen := images
		if name == DenoisingAutoencoder {
			seen = Corrupt(images, 784, config.Values["noise"], config.Seed)
		}
		reconstructed, err := inference.Reconstruct(t.Context(), seen)
		if err != nil || len(reconstructed) != len(images) {
			t.Fatalf("%s: got %d pixels, error %v", name, len(reconstructed), err)
		}
		if got := meanSquare(reconstructed, images); math.Abs(got-*report.TestLoss) > 1e-6**report.TestLoss {
			t.Errorf("%s: the reconstructions' error is %v, the test loss %v", name, got, *report.TestLoss)
		}
	}
}

// The variational network encodes as means, always the same, whose reconstructions are about as close as those of
// samples.
func TestInferenceOfVariational(t *testing.T) {
	config := smallModel(t, VariationalAutoencoder)
	report, checkpoint := lastCheckpoint(t, config)
	inference, err := NewInference(config, checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	images := pixelsOf(config)
	codes, err := inference.Encode(t.Context(), images)
	if err != nil || len(codes) != config.LatentDim*config.Data.Test.Len() {
		t.Fatalf("got %d values, error %v", len(codes), err)
	}
	again, err := inference.Encode(t.Context(), images)
	if err != nil || !slices.Equal(again, codes) {
		t.Errorf("the same images have other codes, error %v", err)
	}
	reconstructed, err := inference.Decode(t.Context(), codes)
	if err != nil {
		t.Fatal(err)
	}
	if got, sampled := 784*meanSquare(reconstructed, images), report.TestMetrics["reconstruction"]; got > 1.1*sampled ||
		got < sampled/4 {
		t.Errorf("the squared error is %v, that of samples %v", got, sampled)
	}
}

func TestInferenceClassifies(t *testing.T) {
	config := withRate(smallModel(t, Classifier), 0.02)
	config.MaxEpochs = 10
	report, checkpoint := lastCheckpoint(t, config)
	inference, err := NewInference(config, checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	logProbabilities, err := inference.Classify(t.Context(), pixelsOf(config))
	if err != nil || len(logProbabilities) != 10*config.Data.Test.Len() {
		t.Fatalf("got %d values, error %v", len(logProbabilities), err)
	}
	right, loss := 0, 0.0
	for i, label := range config.Data.Test.Labels {
		classes := logProbabilities[i*10:][:10]
		if slices.Index(classes, slices.Max(classes)) == int(label) {
			right++
		}
		var sum float64
		for _, value := range classes {
			sum += math.Exp(float64(value))
		}
		if math.Abs(sum-1) > 1e-6 {
			t.Errorf("image %d: the probabilities come to %v", i, sum)
		}
		loss -= float64(classes[label]) / float64(config.Data.Test.Len())
	}
	if got := float64(right) / float64(config.Data.Test.Len()); math.Abs(got-report.TestMetrics["accuracy"]) > 1e-6 {
		t.Errorf("accuracy is %v, reported %v", got, report.TestMetrics["accuracy"])
	}
	if math.Abs(loss-*report.TestLoss) > 1e-5*loss {
		t.Errorf("loss is %v, reported %v", loss, *report.TestLoss)
	}
	codes, err := inference.Encode(t.Context(), pixelsOf(config)[:2*784])
	if err != nil || len(codes) != 2*config.LatentDim {
		t.Errorf("encoding gives %d values, error %v", len(codes), err)
	}
	if _, err := inference.Decode(t.Context(), codes); !errors.Is(err, ErrNoPart) {
		t.Errorf("decoding: got error %v, want %v", err, ErrNoPart)
	}
}

func TestInferenceRefuses(t *testing.T) {
	config := small(t)
	checkpoint := smallPretrained()
	for name, test := range map[string]struct {
		config Config
		want   error
	}{
		"other size":  {Config{Model: ConvAutoencoder, LatentDim: 9}, ErrCheckpointMismatch},
		"other model": {Config{Model: VariationalAutoencoder, LatentDim: 6}, ErrCheckpointMismatch},
		"no noise":    {Config{Model: DenoisingAutoencoder, LatentDim: 6}, ErrInvalidConfig},
		"synthetic":   {Config{Model: Synthetic, LatentDim: 6}, ErrInvalidConfig},
	} {
		if _, err := NewInference(test.config, checkpoint); !errors.Is(err, test.want) {
			t.Errorf("%s: got error %v, want %v", name, err, test.want)
		}
	}
	if _, err := NewInference(config, &Checkpoint{progress: progress{epoch: 1}}); !errors.Is(err, ErrNoWeights) {
		t.Errorf("no weights: got error %v, want %v", err, ErrNoWeights)
	}
	inference, err := NewInference(config, checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inference.Classify(t.Context(), nil); !errors.Is(err, ErrNoPart) {
		t.Errorf("classify: got error %v, want %v", err, ErrNoPart)
	}
	if _, err := inference.Encode(t.Context(), make([]float32, 783)); err == nil {
		t.Error("encodes less than an image")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := inference.Reconstruct(ctx, pixelsOf(config)); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: got error %v, want %v", err, context.Canceled)
	}
}

func TestCorrupt(t *testing.T) {
	images := make([]float32, 20*784)
	noisy := Corrupt(images, 784, 0.5, 7)
	var squares float64
	for _, value := range noisy {
		squares += float64(value) * float64(value)
	}
	if deviation := math.Sqrt(squares / float64(len(noisy))); math.Abs(deviation-0.5) > 0.01 {
		t.Errorf("the noise's deviation is %v, want 0.5", deviation)
	}
	if again := Corrupt(images[:17*784+3], 784, 0.5, 7); !slices.Equal(again, noisy[:len(again)]) {
		t.Error("fewer images have other noise")
	}
	if slices.Equal(Corrupt(images, 784, 0.5, 8), noisy) {
		t.Error("another seed has the same noise")
	}
	if !slices.Equal(images, make([]float32, len(images))) {
		t.Error("the images themselves have changed")
	}
}
