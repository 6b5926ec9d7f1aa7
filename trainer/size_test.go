//go:build !race

package trainer

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"

	"trellis/trainer/dataset"
	"trellis/trainer/network"
)

// Size says how much memory a run takes: of networks with many weights and of those with many values, on one core and
// on two.
func TestSizeSaysMemory(t *testing.T) {
	skipShort(t) // With the race detector, a run allocates more.
	for name, test := range map[string]struct {
		image  network.Image
		values map[string]float64
	}{
		"many weights": {
			network.Image{Channels: 1, Height: 28, Width: 28},
			map[string]float64{"filters": 64, "hidden": 784, "kernel": 5},
		},
		"many values": {network.Image{Channels: 3, Height: 128, Width: 128}, nil},
	} {
		config := func(images int) *Config {
			its := func(n int) dataset.Images {
				return dataset.Images{Pixels: make([]byte, n*test.image.Size()), Labels: make([]byte, n)}
			}
			return &Config{
				Model: "conv-autoencoder", LatentDim: 8, LearningRate: 1e-3, BatchSize: 64, Seed: 1, MaxEpochs: 1,
				Values: test.values, Input: Input{Image: test.image, Classes: 10},
				Data: dataset.Split{
					Height: test.image.Height, Width: test.image.Width, Channels: test.image.Channels,
					Train: its(images), Validation: its(1), Test: its(1),
				},
			}
		}
		size, err := config(1).Size()
		if err != nil {
			t.Fatal(err)
		}
		one := allocated(t, config(1))
		if share := float64(one) / float64(size.Memory); share < 0.75 || share > 1.15 {
			t.Errorf("%s: a run allocates %d bytes, and its size says %d", name, one, size.Memory)
		}
		const images = 128 // Two batches: the first one is on one core.
		two := config(images)
		two.Cores = &oneCore{}
		more := allocated(t, two) - allocated(t, config(images))
		if share := float64(more) / float64(size.CoreMemory); share < 0.75 || share > 1.25 {
			t.Errorf("%s: a further core allocates %d bytes, and its size says %d", name, more, size.CoreMemory)
		}
	}
}

// A classifier keeps the codes of its images, which other models don't have.
func TestSizeSaysWhatIsKeptOfImages(t *testing.T) {
	for model, want := range map[string]int{"classifier": 4 * 8, "conv-autoencoder": 0, "variational-autoencoder": 0} {
		config := &Config{Model: model, LatentDim: 8, LearningRate: 1e-3, BatchSize: 64, MaxEpochs: 1}
		if size, err := config.Size(); err != nil || size.Codes != want {
			t.Errorf("%s keeps %d bytes of each image, error %v; want %d", model, size.Codes, err, want)
		}
	}
}

// What is kept of images counts as memory of a run that has them, unless it would be too much.
func TestMemoryCountsWhatIsKept(t *testing.T) {
	for images, want := range map[int]int{0: 0, 1000: 1000 * 4 * 8, maxCodes / 32: maxCodes, maxCodes/32 + 1: 0} {
		config := &Config{Model: "classifier", LatentDim: 8, LearningRate: 1e-3, BatchSize: 64, MaxEpochs: 1}
		without, err := config.Size()
		if err != nil {
			t.Fatal(err)
		}
		config.Data.Train.Labels = make([]byte, images/2)
		config.Data.Validation.Labels = make([]byte, images/4)
		config.Data.Test.Labels = make([]byte, images-images/2-images/4)
		size, err := config.Size()
		kept := without.Kept(images/2, images-images/2)
		if got := size.Memory - without.Memory; err != nil || got != want || kept != want {
			t.Errorf("of %d images, %d bytes count, and %d are kept, error %v; want %d", images, got, kept, err, want)
		}
	}
}

// What codes save of an epoch, and of which images they are kept: of training images that are moved anew in each epoch,
// nothing is.
func TestSizeSaysWhatCodesSave(t *testing.T) {
	for name, test := range map[string]struct {
		values                 map[string]float64
		trainSaved, otherSaved bool
		kept                   int
	}{
		"frozen":     {nil, true, true, 32 * (100 + 10)},
		"moved":      {map[string]float64{"shift": 1}, false, true, 32 * 10},
		"fine-tuned": {map[string]float64{"fine_tune": 1}, false, false, 0},
	} {
		config := &Config{Model: "classifier", LatentDim: 8, LearningRate: 1e-3, BatchSize: 64, MaxEpochs: 1}
		config.Values = test.values
		size, err := config.Size()
		if err != nil {
			t.Fatal(err)
		}
		check := func(of string, saved, all int, saves bool) {
			// The encoder is nearly all of the network.
			if saves && 10*saved <= 9*all || !saves && saved != 0 {
				t.Errorf("%s: codes save %d of %d operations of a %s image", name, saved, all, of)
			}
		}
		check("training", size.TrainSaved, size.Train, test.trainSaved)
		check("validation", size.EvaluateSaved, size.Evaluate, test.otherSaved)
		if got := size.Kept(100, 10); got != test.kept {
			t.Errorf("%s: %d bytes are kept of 100 training images and 10 others, want %d", name, got, test.kept)
		}
	}
}

// oneCore lends a core that is always idle.
type oneCore struct{ lent atomic.Bool }

func (c *oneCore) TryTake() bool { return c.lent.CompareAndSwap(false, true) }
func (c *oneCore) Return()       { c.lent.Store(false) }
func (c *oneCore) Wanted() bool  { return false }

// allocated is how many bytes a run allocates, with a checkpoint and its encoding.
func allocated(t *testing.T, config *Config) int {
	t.Helper()
	var kept Checkpoint
	var encoded []byte
	config.Checkpoint = func(checkpoint *Checkpoint) (err error) {
		checkpoint.CopyTo(&kept)
		encoded, err = checkpoint.AppendBinary(encoded[:0])
		return err
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Train(context.Background(), *config, func(Report) error { return nil }); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}
